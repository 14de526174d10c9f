"""The host functions that a runtime imports from `env`, as sp-io and frame-benchmarking declare them.

How values cross (sp-runtime-interface, `pass_by`): bytes come as one i64, pointer below, length above; arrays of a fixed length as an
i32 pointer; what the host returns lies in memory that it takes from the runtime's allocator and the runtime frees, as an i32 pointer
if its length is fixed, else as an i64 like above, usually SCALE-encoded.

Three things are not what a node does. Signatures are not checked: sr25519 and ed25519 always verify, recovery of an ecdsa key always
fails. Roots are hashes of all that is under them, not Merkle roots. The size of a proof is the bytes of the keys and values read, without
the nodes of a trie.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wasmtime import Func, Memory, Store

from boundary import MASK, Guest
from hashing import blake2, keccak_256, sha2_256, twox
from scale import Reader, fixed, option, sequence, vector
from storage import Storage

class Call(Guest):
    """One call into a runtime: its storage, its memory and what it logged."""

    def __init__(self, storage: Storage, store: Store, memory: Memory, malloc: Func) -> None:
        super().__init__(store, memory, malloc)
        self.storage = storage
        self.log: list[str] = []
        # What the benchmarking interface takes for the time.
        self.clock: Callable[[], int] = time.thread_time_ns


@dataclass(frozen=True)
class HostFunction:
    """`parameters`: b for bytes, i for an i32, l for an i64. `result`: n an i32, p an array, f bytes, or nothing."""

    parameters: str
    result: str
    body: Callable[..., Any]

    def run(self, call: Call, values: Any) -> None:
        arguments = []
        for i, kind in enumerate(self.parameters):
            value = values[i].i32 & MASK if kind == "i" else values[i].i64
            arguments.append(call.read(value) if kind == "b" else value)
        result = self.body(call, *arguments)
        if self.result == "p":
            values[0].i64 = call.give(result)
        elif self.result == "f":
            values[0].i64 = call.give_fat(result)
        elif self.result == "n":
            values[0].i64 = int(result)


def _storage_read(call: Call, key: bytes, out: int, offset: int) -> bytes:
    value = call.storage.get(key)
    if value is None:
        return option(None)
    rest = value[offset:]
    call.write(out & MASK, rest[: out >> 32 & MASK])
    return option(fixed(len(rest), 4))


def _clear_prefix(call: Call, prefix: bytes, limit: bytes) -> bytes:
    return call.storage.clear_prefix(prefix, Reader(limit).option(lambda reader: reader.fixed(4)))


def _optional(value: bytes | None) -> bytes:
    return option(None if value is None else vector(value))


def _log(call: Call, _level: int, target: bytes, message: bytes) -> None:
    call.log.append(f"{target.decode(errors='replace')}: {message.decode(errors='replace')}")


def _tracked(reader: Reader) -> bytes:
    """The key of a `TrackedStorageKey`."""
    key = reader.vector()
    reader.take(9)
    reader.option(lambda child: child.vector())
    return key


def _set_whitelist(call: Call, keys: bytes) -> None:
    call.storage.whitelist = Reader(keys).sequence(_tracked)


def _whitelist(call: Call) -> bytes:
    return sequence([vector(key) + bytes(9) + option(None) for key in call.storage.whitelist])


def _read_write_count(call: Call) -> bytes:
    accesses = call.storage.counted().values()
    reads, writes = [a.reads for a in accesses if a.reads], [a.writes for a in accesses if a.writes]
    counts = (len(reads), sum(reads) - len(reads), len(writes), sum(writes) - len(writes))
    return b"".join(fixed(count, 4) for count in counts)


def _keys(call: Call) -> bytes:
    storage = call.storage
    return sequence(
        [
            vector(key) + fixed(access.reads, 4) + fixed(access.writes, 4) + fixed(key in storage.whitelist, 1)
            for key, access in storage.accesses.items()
        ]
    )


def _proof_size(call: Call) -> bytes:
    storage = call.storage
    size = sum(len(key) + len(storage.top.get(key, b"")) for key, access in storage.accesses.items() if access.reads)
    return option(fixed(size, 4))


FUNCTIONS: dict[str, HostFunction] = {
    f"ext_{name}": HostFunction(parameters, result, body)
    for name, parameters, result, body in [
        ("storage_get_version_1", "b", "f", lambda call, key: _optional(call.storage.get(key))),
        ("storage_read_version_1", "bli", "f", _storage_read),
        ("storage_set_version_1", "bb", "", lambda call, key, value: call.storage.put(key, value)),
        ("storage_clear_version_1", "b", "", lambda call, key: call.storage.put(key, None)),
        ("storage_exists_version_1", "b", "n", lambda call, key: call.storage.get(key) is not None),
        ("storage_clear_prefix_version_2", "bb", "f", _clear_prefix),
        ("storage_append_version_1", "bb", "", lambda call, key, value: call.storage.append(key, value)),
        ("storage_root_version_2", "i", "f", lambda call, _: call.storage.root()),
        ("storage_next_key_version_1", "b", "f", lambda call, key: _optional(call.storage.next_key(key))),
        ("storage_start_transaction_version_1", "", "", lambda call: call.storage.start()),
        ("storage_rollback_transaction_version_1", "", "", lambda call: call.storage.rollback()),
        ("storage_commit_transaction_version_1", "", "", lambda call: call.storage.commit_transaction()),
        ("trie_blake2_256_root_version_2", "bi", "p", lambda call, items, _: blake2(items, 32)),
        ("trie_blake2_256_ordered_root_version_2", "bi", "p", lambda call, items, _: blake2(items, 32)),
        ("hashing_keccak_256_version_1", "b", "p", lambda call, data: keccak_256(data)),
        ("hashing_sha2_256_version_1", "b", "p", lambda call, data: sha2_256(data)),
        ("hashing_blake2_128_version_1", "b", "p", lambda call, data: blake2(data, 16)),
        ("hashing_blake2_256_version_1", "b", "p", lambda call, data: blake2(data, 32)),
        ("hashing_twox_64_version_1", "b", "p", lambda call, data: twox(data, 8)),
        ("hashing_twox_128_version_1", "b", "p", lambda call, data: twox(data, 16)),
        ("hashing_twox_256_version_1", "b", "p", lambda call, data: twox(data, 32)),
        ("crypto_sr25519_verify_version_2", "ibi", "n", lambda *_: True),
        ("crypto_ed25519_verify_version_1", "ibi", "n", lambda *_: True),
        ("crypto_secp256k1_ecdsa_recover_version_2", "ii", "f", lambda *_: b"\1\2"),
        ("crypto_secp256k1_ecdsa_recover_compressed_version_2", "ii", "f", lambda *_: b"\1\2"),
        ("logging_log_version_1", "ibb", "", _log),
        ("logging_max_level_version_1", "", "n", lambda call: 2),
        ("misc_print_num_version_1", "l", "", lambda call, number: call.log.append(str(number))),
        ("misc_print_utf8_version_1", "b", "", lambda call, text: call.log.append(text.decode(errors="replace"))),
        ("misc_print_hex_version_1", "b", "", lambda call, data: call.log.append(data.hex())),
        ("misc_runtime_version_version_1", "b", "f", lambda *_: option(None)),
        ("offchain_index_set_version_1", "bb", "", lambda *_: None),
        ("offchain_index_clear_version_1", "b", "", lambda *_: None),
        ("benchmarking_current_time_version_1", "", "p", lambda call: fixed(call.clock(), 16)),
        ("benchmarking_wipe_db_version_1", "", "", lambda call: call.storage.wipe()),
        ("benchmarking_commit_db_version_1", "", "", lambda call: call.storage.commit()),
        ("benchmarking_reset_read_write_count_version_1", "", "", lambda call: call.storage.accesses.clear()),
        ("benchmarking_read_write_count_version_1", "", "f", _read_write_count),
        ("benchmarking_get_read_and_written_keys_version_1", "", "f", _keys),
        ("benchmarking_get_whitelist_version_1", "", "f", _whitelist),
        ("benchmarking_set_whitelist_version_1", "b", "", _set_whitelist),
        (
            "benchmarking_add_to_whitelist_version_1",
            "b",
            "",
            lambda call, key: call.storage.whitelist.append(_tracked(Reader(key))),
        ),
        ("benchmarking_remove_from_whitelist_version_1", "b", "", lambda call, key: call.storage.whitelist.remove(key)),
        ("benchmarking_proof_size_version_1", "", "f", _proof_size),
    ]
}
