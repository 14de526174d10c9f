"""A runtime's storage: keys and values, nested transactions, and the reads and writes that benchmarks count."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from hashing import blake2
from scale import Reader, compact, fixed


@dataclass
class Access:
    """How often a key was read from and written to the database."""

    reads: int = 0
    writes: int = 0


class Storage:
    """Changes since `commit` are the overlay; reads that it answers are no reads of the database."""

    def __init__(self, top: dict[bytes, bytes] | None = None) -> None:
        self.top = dict(top or {})
        self._sorted: list[bytes] | None = None
        # One journal per open transaction: the value a key had when it began, and whether the overlay had it.
        self._journals: list[dict[bytes, tuple[bytes | None, bool]]] = []
        self.genesis = dict(self.top)
        self._overlay: set[bytes] = set()
        self.accesses: dict[bytes, Access] = {}
        self.whitelist: list[bytes] = []

    # Keys and values.

    def get(self, key: bytes) -> bytes | None:
        if key not in self._overlay:
            self.accesses.setdefault(key, Access()).reads += 1
        return self.top.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Sets, or with None clears."""
        if self._journals:
            self._journals[-1].setdefault(key, (self.top.get(key), key in self._overlay))
        self._overlay.add(key)
        self._restore(key, value)

    def _restore(self, key: bytes, value: bytes | None) -> None:
        if (key in self.top) != (value is not None):
            self._sorted = None
        if value is None:
            self.top.pop(key, None)
        else:
            self.top[key] = value

    def append(self, key: bytes, item: bytes) -> None:
        """Appends an encoded item to the encoded vector under the key; what is no vector is replaced by one with the item."""
        reader = Reader(self.get(key) or b"\0")
        try:
            count, items = reader.compact(), reader.data[reader.at :]
        except ValueError:
            count, items = 0, b""
        self.put(key, compact(count + 1) + items + item)

    def _keys(self) -> list[bytes]:
        if self._sorted is None:
            self._sorted = sorted(self.top)
        return self._sorted

    def next_key(self, key: bytes) -> bytes | None:
        keys = self._keys()
        at = bisect.bisect_right(keys, key)
        return keys[at] if at < len(keys) else None

    def keys_with(self, prefix: bytes) -> list[bytes]:
        keys = self._keys()
        begin = end = bisect.bisect_left(keys, prefix)
        while end < len(keys) and keys[end].startswith(prefix):
            end += 1
        return keys[begin:end]

    def clear_prefix(self, prefix: bytes, limit: int | None) -> bytes:
        """`KillStorageResult`: whether all are gone, and how many went. The limit counts keys of the database only."""
        gone = 0
        keys = self.keys_with(prefix)
        for key in keys:
            if key not in self._overlay:
                if limit is not None and gone == limit:
                    return b"\1" + fixed(gone, 4)
                gone += 1
            self.put(key, None)
        return b"\0" + fixed(gone, 4)

    def root(self) -> bytes:
        """A hash of all keys and values: it changes with them, but it is not the root of Substrate's trie."""
        parts = [compact(len(key)) + key + compact(len(self.top[key])) + self.top[key] for key in self._keys()]
        return blake2(b"".join(parts), 32)

    # Transactions.

    def start(self) -> None:
        self._journals.append({})

    def rollback(self) -> None:
        for key, (value, in_overlay) in self._journals.pop().items():
            self._restore(key, value)
            if not in_overlay:
                self._overlay.discard(key)

    def depth(self) -> int:
        """Open transactions."""
        return len(self._journals)

    def commit_transaction(self) -> None:
        closed = self._journals.pop()
        if self._journals:
            for key, before in closed.items():
                self._journals[-1].setdefault(key, before)

    # The database, as benchmarks see it.

    def commit(self) -> None:
        """Writes the overlay to the database; what open transactions changed till now can no longer be rolled back."""
        for key in self._overlay:
            self.accesses.setdefault(key, Access()).writes += 1
        self._overlay.clear()
        for journal in self._journals:
            journal.clear()

    def wipe(self) -> None:
        """Back to the values given at the beginning, past all transactions."""
        self.top, self._sorted = dict(self.genesis), None
        for journal in self._journals:
            journal.clear()
        self._overlay.clear()
        self.accesses.clear()

    def counted(self) -> dict[bytes, Access]:
        """The accesses of keys that are not on the whitelist."""
        return {key: access for key, access in self.accesses.items() if key not in self.whitelist}
