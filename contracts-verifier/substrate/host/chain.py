"""A chain of one node without consensus: genesis, blocks with inherents and signed extrinsics, and what became of them.

Signatures are dummies, which the host functions accept (`functions.py`).

    chain.py runtime.wasm spec.json

writes the raw chain specification of the development genesis.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashing import blake2
from metadata import Metadata
from runtime import Runtime
from scale import Reader, compact, fixed, option, sequence, vector
from storage import Storage

ALICE = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
BOB = bytes.fromhex("8eaf04151687736326c9fea17e25fc5287613693c912909cb226aa4794f26a48")
CODE = b":code"
SECONDS_A_BLOCK = 6
FIRST_SECOND = 1_700_000_000

# What each extension of a v4 extrinsic writes into it; the others write nothing.
_EXTENSIONS = ["CheckNonZeroSender", "CheckSpecVersion", "CheckTxVersion", "CheckGenesis", "CheckMortality", "CheckNonce", "CheckWeight"]
IMMORTAL = b"\0"


_INVALID = ["Call", "Payment", "Future", "Stale", "BadProof", "AncientBirthBlock", "ExhaustsResources", "Custom", "BadMandatory"]


class InvalidTransaction(Exception):
    """An extrinsic that no block may contain: the name of the `InvalidTransaction`, or the encoded `TransactionValidityError`."""

    def __init__(self, error: bytes) -> None:
        super().__init__(_INVALID[error[1]] if error[0] == 0 and error[1] < len(_INVALID) else error.hex())


@dataclass(frozen=True)
class Outcome:
    """What became of an extrinsic: `error` is None, `Pallet::Error`, or the name of another DispatchError."""

    error: str | None
    ref_time: int
    proof_size: int
    events: list[tuple[str, str, Any]]

    @property
    def ok(self) -> bool:
        return self.error is None


def merged(base: Any, patch: Any) -> Any:
    """RFC 7386: `patch` applied to `base`."""
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def mortal(period: int, current: int) -> bytes:
    """An era of `period` blocks, a power of two from 4 to 65,536, that begins about at the finished block `current`."""
    if period & (period - 1) or not 4 <= period <= 1 << 16:
        raise ValueError(f"no period of {period} blocks")
    step = max(1, period >> 12)
    return fixed(max(1, period.bit_length() - 2) | (current % period // step) << 4, 2)


class Chain:
    """The state of a chain. `patch` is laid over the preset of the genesis."""

    def __init__(self, runtime: Runtime, preset: str | None = "development", patch: dict[str, Any] | None = None) -> None:
        self.runtime = runtime
        self.storage = Storage()
        self.metadata = Metadata(self.call("Metadata_metadata"))
        if self.metadata.extensions != _EXTENSIONS:
            raise ValueError(f"extensions {self.metadata.extensions}")
        config = merged(self._preset(None), self._preset(preset) if preset else {})
        genesis = json.dumps(merged(config, patch or {})).encode()
        built = Reader(self.call("GenesisBuilder_build_state", vector(genesis)))
        if built.fixed(1):
            raise ValueError(built.text())
        self.storage.put(CODE, runtime.blob)
        self.storage.commit()
        self.number = 0
        self.parent = bytes(32)
        self.spec_top = dict(self.storage.top)

    def call(self, function: str, arguments: bytes = b"") -> bytes:
        return self.runtime.call(self.storage, function, arguments)

    def _preset(self, name: str | None) -> Any:
        encoded = option(None if name is None else vector(name.encode()))
        preset = Reader(self.call("GenesisBuilder_get_preset", encoded)).option(Reader.vector)
        if preset is None:
            raise ValueError(f"no preset {name}")
        return json.loads(preset)

    def spec(self) -> dict[str, Any]:
        """The raw chain spec of the genesis."""
        top = {f"0x{key.hex()}": f"0x{value.hex()}" for key, value in sorted(self.spec_top.items())}
        return {
            "name": "zkinfer minimal",
            "id": "zkinfer_minimal",
            "chainType": "Development",
            "bootNodes": [],
            "telemetryEndpoints": None,
            "protocolId": None,
            "properties": {"tokenDecimals": 12, "tokenSymbol": "UNIT"},
            "codeSubstitutes": {},
            "genesis": {"raw": {"top": top, "childrenDefault": {}}},
        }

    # Storage and calls, by name.

    def get(self, pallet: str, entry: str, *keys: Any) -> Any:
        """The decoded value, its default, or None."""
        found = self.metadata.pallets[pallet].storage[entry]
        value = self.storage.get(found.key(self.metadata, *keys))
        value = found.default if value is None else value
        return None if value is None else self.metadata.decode(found.value, Reader(value))

    def constant(self, pallet: str, name: str) -> Any:
        type_id, value = self.metadata.pallets[pallet].constants[name]
        return self.metadata.decode(type_id, Reader(value))

    def nonce(self, account: bytes) -> int:
        return Reader(self.call("AccountNonceApi_account_nonce", account)).fixed(4)

    def signed(self, call: bytes, account: bytes, nonce: int | None = None, era: bytes = IMMORTAL) -> bytes:
        """A v4 extrinsic of the account, with a signature of zeros."""
        nonce = self.nonce(account) if nonce is None else nonce
        return vector(b"\x84" + b"\0" + account + b"\1" + bytes(64) + era + compact(nonce) + call)

    # Blocks.

    def begin(self) -> None:
        """Opens the next block and applies its inherents."""
        self.number += 1
        header = self.parent + compact(self.number) + bytes(64) + sequence([])
        self.call("Core_initialize_block", header)
        now = fixed((FIRST_SECOND + SECONDS_A_BLOCK * self.number) * 1000, 8)
        data = sequence([b"timstap0" + vector(now)])
        inherents = Reader(self.call("BlockBuilder_inherent_extrinsics", data)).sequence(Reader.vector)
        for inherent in inherents:
            outcome = self.apply(vector(inherent))
            if not outcome.ok:
                raise ValueError(outcome.error)

    def apply(self, extrinsic: bytes) -> Outcome:
        """Applies an extrinsic, which has its length in front. Raises InvalidTransaction, or RuntimeTrap if it brings the runtime down,
        and then leaves the state as it was."""
        before = len(self.get("System", "Events"))
        self.storage.start()
        try:
            applied = self.call("BlockBuilder_apply_extrinsic", extrinsic)
            if applied[0]:
                raise InvalidTransaction(applied[1:])
        except Exception:
            self.storage.rollback()
            raise
        self.storage.commit_transaction()
        return self._outcome(self.get("System", "Events")[before:])

    def finish(self) -> bytes:
        """Closes the block and returns its header."""
        header = self.call("BlockBuilder_finalize_block")
        self.parent = blake2(header, 32)
        self.storage.commit()
        return header

    def block(self, *extrinsics: bytes) -> list[Outcome]:
        """A whole block."""
        self.begin()
        outcomes = [self.apply(extrinsic) for extrinsic in extrinsics]
        self.finish()
        return outcomes

    def _outcome(self, records: list[dict[str, Any]]) -> Outcome:
        events = [(record["event"][0], *record["event"][1]) for record in records]
        name, fields = next((name, fields) for pallet, name, fields in events if pallet == "System" and "Extrinsic" in name)
        weight = fields["dispatch_info"]["weight"]
        error = None if name == "ExtrinsicSuccess" else self._error(fields["dispatch_error"])
        return Outcome(error, weight["ref_time"], weight["proof_size"], events)

    def _error(self, error: tuple[str, Any]) -> str:
        name, fields = error
        if name == "Module":
            return self.metadata.error(fields["index"], fields["error"][0])
        return f"{name}({fields[0]})" if isinstance(fields, tuple) else name


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Path(sys.argv[2]).write_text(json.dumps(Chain(Runtime(Path(sys.argv[1]).read_bytes())).spec()))
