"""Times the longest calls in the runtime's WASM and holds them against the weight that a chain is charged for them.

    weights.py runtime.wasm runtime-benchmarks.wasm CASES [BUNDLE...]

CASES is what the pallet's test `worst` writes: a line for each case, `name;key;context;tensors;proof` in hexadecimal. A bundle is a folder with
verifying.key and proof.json, whose proof must hold. The time of a call is the least of several runs of the whole extrinsic, host functions
in Python included; the weight is the one in the event that reports the extrinsic, and the base weight of an extrinsic.

Weights hold for the machine that they were measured on. A slower or a busy one is allowed for by a loop (`host/reference.py`) that is timed
beside every case, and whose time is written into the weights. Reads, writes and bytes of proof do not depend on a machine: the benchmarks
are run again, and the committed file must count what they count.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "host"))

from chain import ALICE, Chain, Outcome  # noqa: E402
from reference import Reference  # noqa: E402
from runtime import Runtime  # noqa: E402
from scale import vector  # noqa: E402
from weights import counts, reference_microseconds, written  # noqa: E402

WEIGHTS = Path(__file__).resolve().parent.parent / "pallet/src/weights.rs"
PALLET = 8
RUNS = 7
PICOSECONDS = 1e12


@dataclass(frozen=True)
class Case:
    """A key, a statement and something that may be its proof."""

    name: str
    key: bytes
    context: bytes
    tensors: bytes
    proof: bytes

    @staticmethod
    def of_line(line: str) -> "Case":
        name, key, context, tensors, proof = line.strip().split(";")
        return Case(name, *(bytes.fromhex(field.removeprefix("0x")) for field in (key, context, tensors, proof)))

    @staticmethod
    def of_bundle(bundle: Path) -> "Case":
        proof = json.loads((bundle / "proof.json").read_text())
        context, publics, bytes_ = (bytes.fromhex(proof[name][2:]) for name in ("context", "publics", "proof"))
        tensors = publics + b"".join(bytes.fromhex(digest[2:]) for digest in proof.get("digests", []))
        return Case(f"{proof['system']}, a bundle, the proof holds", (bundle / "verifying.key").read_bytes(), context, tensors, bytes_)

    def register(self) -> bytes:
        return bytes([PALLET, 0]) + vector(self.key)

    def verify(self, digest: bytes) -> bytes:
        return bytes([PALLET, 2]) + digest + self.context + vector(self.tensors) + vector(self.proof)


class Clock:
    """Runs extrinsics on a chain, times them and takes them back."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        limits = chain.constant("System", "BlockWeights")["per_class"]["normal"]
        self.base = limits["base_extrinsic"]["ref_time"]
        self.failures: list[str] = []
        self.reference = Reference()
        self.expected = reference_microseconds(WEIGHTS.read_text())
        self.slowest = 0.0

    def time(self, call: bytes) -> tuple[Outcome, float, float]:
        """The outcome of a call, its seconds, and the seconds of its weight."""
        extrinsic = self.chain.signed(call, ALICE)
        seconds = []
        for _ in range(RUNS):
            self.chain.storage.start()
            begun = time.thread_time()
            outcome = self.chain.apply(extrinsic)
            seconds.append(time.thread_time() - begun)
            self.chain.storage.rollback()
        return outcome, min(seconds), (outcome.ref_time + self.base) / PICOSECONDS

    def slowness(self) -> float:
        """How many times longer this machine takes now than the one of the weights, at least 1."""
        return max(1.0, self.reference.microseconds() / self.expected)

    def check(self, name: str, call: bytes) -> Outcome:
        """Prints the time beside the weight; a time above the weight, the slowness of the machine allowed for, is a failure."""
        before = self.slowness()
        outcome, seconds, weight = self.time(call)
        slowness = max(before, self.slowness())
        self.slowest = max(self.slowest, slowness)
        print(f"{seconds * 1e3:7.2f} ms of {weight * 1e3:7.2f} ms  {name}: {outcome.error or 'accepted'}")
        if seconds > weight * slowness:
            self.failures.append(name)
        return outcome


def register(chain: Chain, case: Case) -> bytes:
    """Registers the case's key; its digest."""
    outcome = chain.apply(chain.signed(case.register(), ALICE))
    assert outcome.ok, outcome
    event = next(fields for pallet, name, fields in outcome.events if (pallet, name) == ("ZkinferVerifier", "KeyRegistered"))
    return bytes(event["key"])


def check_counts(blob: str) -> None:
    """The committed weights count the reads, writes and bytes that the benchmarks count now."""
    expected = counts(written(Path(blob).read_bytes(), 3, 0, lambda _: None))
    committed = counts(WEIGHTS.read_text())
    wrong = [name for name in expected if expected[name] != committed.get(name)]
    for name in wrong:
        print(f"{name}\n  the benchmark: {expected[name]}\n  weights.rs: {committed.get(name)}")
    assert not wrong and len(expected) == len(committed), f"weights.rs is not of these benchmarks: {wrong}"
    print(f"reads, writes and bytes of proof of {len(expected)} functions are those of the benchmarks")


def main(blob: str, benchmarks: str, cases: str, *bundles: str) -> None:
    check_counts(benchmarks)
    chain = Chain(Runtime(Path(blob).read_bytes(), fuel=None))
    clock = Clock(chain)
    lines = [Case.of_line(line) for line in Path(cases).read_text().splitlines()]
    lines += [Case.of_bundle(Path(bundle)) for bundle in bundles]
    chain.begin()
    digests: dict[bytes, bytes] = {}
    for case in lines:
        if case.key not in digests:
            # The last byte is of a point: everything before it is decoded first.
            damaged = replace(case, key=case.key[:-1] + bytes([case.key[-1] ^ 1]))
            refused = clock.check(f"register_key, {len(case.key)} bytes, bad last point", damaged.register())
            assert refused.error == "ZkinferVerifier::KeyPoint", refused
            assert clock.check(f"register_key, {len(case.key)} bytes, {case.name}", case.register()).ok, case.name
            digests[case.key] = register(chain, case)
        outcome = clock.check(f"verify, {len(case.tensors)} public bytes, {case.name}", case.verify(digests[case.key]))
        holds = case.name.endswith(("holds", "one public"))
        expected = None if holds else "ProofPoint" if case.name.endswith("point") else "ProofRejected"
        assert outcome.error == (expected and f"ZkinferVerifier::{expected}"), (case.name, outcome.error)
    print(f"this machine, now, takes up to {clock.slowest:.2f} times what the weights' took")
    if clock.failures:
        sys.exit(f"longer than their weights: {clock.failures}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
