"""The standalone verifier under wasmtime: honest proofs, damaged ones, noise, and what it may cost.

    standalone.py zkinfer_verifier_wasm.wasm BUNDLE...

A bundle is a folder with `verifying.key` and `proof.json`, as `zkinfer setup` and `zkinfer prove` write them. Damage is drawn from
a fixed seed. Bytes of a key that no proof binds are damaged too, but may be accepted: in a plain groth16 key the equation binds
the points only, so all of its header past the magic (model, circuit digest, names, scales) is the caller's to pin by the digest.
"""

import json
import random
import struct
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from wasmtime import Engine, Instance, Module, Store

MAX_FILE_BYTES = 600 << 10
ACCEPTED, ENVELOPE, KEY, STATEMENT, PROOF, REJECTED = 0, -1, -2, -3, -4, -5
MAGIC_BYTES = 9  # name, version, system


@dataclass(frozen=True)
class Parts:
    """One statement and its proof, unpacked; behind the public tensors stand the digests of hashed ones."""

    system: str
    key: bytes
    context: bytes
    publics: bytes
    proof: bytes
    digests: int

    @staticmethod
    def read(bundle: Path) -> "Parts":
        proof = json.loads((bundle / "proof.json").read_text())
        context, publics, bytes_ = (bytes.fromhex(proof[name][2:]) for name in ("context", "publics", "proof"))
        digests = [bytes.fromhex(digest[2:]) for digest in proof.get("digests", [])]
        return Parts(proof["system"], (bundle / "verifying.key").read_bytes(), context, publics + b"".join(digests), bytes_, len(digests))

    def envelope(self) -> bytes:
        prefixed = [struct.pack("<I", len(part)) + part for part in (self.key, self.publics, self.proof)]
        return prefixed[0] + self.context + prefixed[1] + prefixed[2]

    def unbound_key_bytes(self) -> range:
        """Bytes of the key that the equation does not bind: only a plain key has some."""
        if self.system != "groth16":
            return range(0)
        words = 1 + -(-(len(self.publics) - 32 * self.digests) // 31) + self.digests
        material = 64 + 128 + 128 + 1 + 128 + 4 + 64 * (words + 1)
        return range(MAGIC_BYTES, len(self.key) - material)


class Verifier:
    """One instance, without imports."""

    def __init__(self, wasm: bytes) -> None:
        self.store = Store(Engine())
        module = Module(self.store.engine, wasm)
        assert not list(module.imports), [str(entry) for entry in module.imports]
        self.exports = Instance(self.store, module, []).exports(self.store)

    def call(self, name: str, *arguments: int) -> int:
        return self.exports[name](self.store, *arguments)

    def alloc(self, length: int) -> int:
        """The address of a new buffer, unsigned, or 0."""
        return self.call("alloc", length) & 0xFFFF_FFFF

    def pages(self) -> int:
        return self.exports["memory"].size(self.store)

    def verdict(self, envelope: bytes) -> int:
        ptr = self.alloc(len(envelope))
        assert ptr, len(envelope)
        self.exports["memory"].write(self.store, envelope, ptr)
        verdict = self.call("verify", ptr, len(envelope))
        self.call("dealloc", ptr, len(envelope))
        return verdict


def flipped(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def check_damage(verifier: Verifier, honest: Parts, draw: random.Random) -> int:
    """Every damaged envelope is refused; returns how many."""
    count = 0
    for name, times in (("key", 100), ("context", 20), ("publics", 40), ("proof", 100)):
        data = getattr(honest, name)
        for _ in range(times):
            at, mask = draw.randrange(len(data)), 1 << draw.randrange(8)
            verdict = verifier.verdict(replace(honest, **{name: flipped(data, at, mask)}).envelope())
            unbound = name == "key" and at in honest.unbound_key_bytes()
            assert verdict < 0 or unbound, (honest.system, name, at, mask, verdict)
            count += 1
    envelope = honest.envelope()
    for at in (0, 4 + len(honest.key) + 32, len(envelope) - len(honest.proof) - 4):
        for byte in range(4):
            for bit in range(8):
                verdict = verifier.verdict(flipped(envelope, at + byte, 1 << bit))
                assert verdict < 0, (honest.system, "length", at, byte, bit, verdict)
                count += 1
    for cut in (envelope[:-1], envelope[: len(envelope) // 2], envelope + b"\0"):
        assert verifier.verdict(cut) == ENVELOPE
    for name, expected in (("key", KEY), ("publics", STATEMENT), ("proof", PROOF)):
        data = getattr(honest, name)
        for other in (data[:-1], data + b"\0", b""):
            verdict = verifier.verdict(replace(honest, **{name: other}).envelope())
            assert verdict == expected, (honest.system, name, len(other), verdict)
            count += 1
    for digest in range(honest.digests):
        # Not less than the order of the scalar field.
        at = len(honest.publics) - 32 * (digest + 1)
        large = honest.publics[:at] + b"\xff" * 32 + honest.publics[at + 32 :]
        assert verifier.verdict(replace(honest, publics=large).envelope()) == STATEMENT
        count += 1
    assert verifier.verdict(replace(honest, context=b"\xff" * 32).envelope()) == STATEMENT
    assert verifier.verdict(replace(honest, context=bytes(31) + b"\5").envelope()) == REJECTED
    return count


def check_noise(verifier: Verifier, honest: Parts, draw: random.Random) -> None:
    """Noise as envelope, and noise behind the start of a real key."""
    for _ in range(100):
        assert verifier.verdict(draw.randbytes(draw.randrange(1, 600))) == ENVELOPE
        kept = draw.randrange(len(honest.key))
        key = honest.key[:kept] + draw.randbytes(draw.randrange(1, 800))
        proof = draw.randbytes(len(honest.proof))
        assert verifier.verdict(replace(honest, key=key).envelope()) < 0
        assert verifier.verdict(replace(honest, proof=proof).envelope()) < 0


def check_buffers(verifier: Verifier) -> None:
    """No pointer, length or number of buffers that a host can pass traps."""
    limit = 16 << 20
    for length in (0, limit + 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
        assert verifier.alloc(length) == 0, length
    buffers = [verifier.alloc(64) for _ in range(16)]
    assert all(buffers) and len(set(buffers)) == 16
    assert verifier.alloc(64) == 0
    for ptr, length in ((0, 0), (0, 64), (buffers[0], 65), (buffers[0] + 1, 63), (1 << 31, 4), (0xFFFF_FFFF, 0xFFFF_FFFF)):
        assert verifier.call("verify", ptr, length) == ENVELOPE
        verifier.call("dealloc", ptr, length)
    for ptr in buffers:
        verifier.call("dealloc", ptr, 64)
        verifier.call("dealloc", ptr, 64)
    largest = verifier.alloc(limit)
    assert largest
    verifier.call("dealloc", largest, limit)


def check_memory_and_time(wasm: bytes, honest: Parts) -> str:
    """After the first few, memory grows no more."""
    verifier, envelope, times = Verifier(wasm), honest.envelope(), []
    for i in range(200):
        begun = time.perf_counter()
        assert verifier.verdict(envelope) == ACCEPTED
        times.append(time.perf_counter() - begun)
        if i == 4:
            pages = verifier.pages()
    assert verifier.pages() == pages, (pages, verifier.pages())
    return f"{sorted(times)[100] * 1000:.1f} ms, {pages} pages"


def main(wasm_path: str, *bundles: str) -> None:
    wasm = Path(wasm_path).read_bytes()
    assert len(wasm) <= MAX_FILE_BYTES, f"{len(wasm)} bytes, more than {MAX_FILE_BYTES}"
    verifier, draw = Verifier(wasm), random.Random(1)
    check_buffers(verifier)
    for bundle in bundles:
        honest = Parts.read(Path(bundle))
        assert verifier.verdict(honest.envelope()) == ACCEPTED
        refused = check_damage(verifier, honest, draw)
        check_noise(verifier, honest, draw)
        print(f"{honest.system}: accepted; {refused} damaged envelopes without a trap; {check_memory_and_time(wasm, honest)}")
    print(f"{len(wasm)} bytes, no imports, {len(bundles)} bundles")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
