"""The benchmarks of a runtime built with `runtime-benchmarks`: what there is, and what a run measures.

    benchmark.py runtime-benchmarks.wasm PALLET [STEPS [REPEATS]]

prints one JSON line per measurement: for each component, STEPS values from its least to its greatest while the others are at
their greatest. Times are nanoseconds of the thread's own clock, so that other processes on the machine do not count; they contain what
host functions take in Python, which is more than in a node. `proof_size` is what `functions.py` says.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from chain import Chain
from runtime import FUEL, Runtime
from scale import Reader, fixed, sequence, vector
from storage import Storage


@dataclass(frozen=True)
class Component:
    """A parameter of a benchmark: a letter and its bounds, both included."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, and the storage prefixes for which it names a mode of counting the proof's size."""

    pallet: str
    instance: str
    name: str
    components: list[Component]
    pov_modes: dict[str, str]


@dataclass(frozen=True)
class StorageInfo:
    """A storage item: `max_size` bounds one key and value, `max_values` their number."""

    pallet: str
    name: str
    prefix: bytes
    max_values: int | None
    max_size: int | None


@dataclass(frozen=True)
class Measurement:
    """One repetition. `keys`: (key, reads, writes, whitelisted)."""

    components: dict[str, int]
    nanoseconds: int
    reads: int
    repeat_reads: int
    writes: int
    repeat_writes: int
    proof_size: int
    keys: list[tuple[bytes, int, int, bool]]


class BenchmarkError(Exception):
    """The runtime refused to run a benchmark."""


def _component(reader: Reader) -> Component:
    return Component(chr(ord("a") + reader.fixed(1)), reader.fixed(4), reader.fixed(4))


def _benchmarks(reader: Reader) -> list[Benchmark]:
    pallet, instance = reader.text(), reader.text()
    return reader.sequence(
        lambda r: Benchmark(
            pallet,
            instance,
            r.text(),
            r.sequence(_component),
            dict(r.sequence(lambda mode: (mode.text(), mode.text()))),
        )
    )


def _storage_info(reader: Reader) -> StorageInfo:
    number = lambda r: r.fixed(4)  # noqa: E731
    return StorageInfo(reader.text(), reader.text(), reader.vector(), reader.option(number), reader.option(number))


def _measurement(reader: Reader) -> Measurement:
    components = dict(reader.sequence(lambda r: (chr(ord("a") + r.fixed(1)), r.fixed(4))))
    nanoseconds, _storage_root = reader.fixed(16), reader.fixed(16)
    counts = [reader.fixed(4) for _ in range(5)]
    keys = reader.sequence(lambda r: (r.vector(), r.fixed(4), r.fixed(4), bool(r.fixed(1))))
    return Measurement(components, nanoseconds, *counts, keys)


def _batch(reader: Reader) -> list[Measurement]:
    for _ in range(3):
        reader.vector()
    return reader.sequence(_measurement)


class Benchmarks:
    """The benchmarks of a runtime, on the state of a development genesis. With `counts_instructions`, what is measured are not nanoseconds
    but instructions of WASM, about: a number that no machine and no moment changes."""

    def __init__(self, blob: bytes, counts_instructions: bool = False) -> None:
        fuel = FUEL if counts_instructions else None
        self.runtime = Runtime(blob, fuel, counts_instructions)
        self.genesis = Chain(self.runtime).spec_top

    def _call(self, function: str, arguments: bytes) -> Reader:
        return Reader(self.runtime.call(Storage(self.genesis), function, arguments))

    def metadata(self, extra: bool = False) -> tuple[list[Benchmark], list[StorageInfo]]:
        """All benchmarks, with `extra` also those that no weight needs; and all storage."""
        reader = self._call("Benchmark_benchmark_metadata", fixed(extra, 1))
        benchmarks = [benchmark for pallet in reader.sequence(_benchmarks) for benchmark in pallet]
        storage = reader.sequence(_storage_info)
        reader.end()
        return benchmarks, storage

    def run(
        self, benchmark: Benchmark, components: dict[str, int], repeats: int = 1, verify: bool = False
    ) -> list[Measurement]:
        """`repeats` measurements with these components; with `verify` the benchmark's own checks run too, which adds to the time."""
        selected = sequence([fixed(ord(name) - ord("a"), 1) + fixed(value, 4) for name, value in components.items()])
        names = (benchmark.pallet, benchmark.instance, benchmark.name)
        config = b"".join(vector(name.encode()) for name in names) + selected + fixed(verify, 1) + fixed(repeats, 4)
        reader = self._call("Benchmark_dispatch_benchmark", config)
        if reader.fixed(1):
            raise BenchmarkError(reader.text())
        return [measurement for batch in reader.sequence(_batch) for measurement in batch]


def plan(components: list[Component], steps: int) -> list[dict[str, int]]:
    """Values to measure at: each component over its range while the others are at their greatest."""
    top = {component.name: component.high for component in components}
    points = []
    for component in components:
        span = component.high - component.low
        values = {component.low + span * step // max(1, steps - 1) for step in range(max(2, steps))}
        points += [{**top, component.name: value} for value in sorted(values)]
    return points or [{}]


def main(blob: str, pallet: str, steps: str = "10", repeats: str = "5") -> None:
    benchmarks = Benchmarks(Path(blob).read_bytes())
    for benchmark in benchmarks.metadata()[0]:
        if benchmark.pallet != pallet:
            continue
        for components in plan(benchmark.components, int(steps)):
            for measurement in benchmarks.run(benchmark, components, int(repeats)):
                line = {"benchmark": benchmark.name, **asdict(measurement)}
                del line["keys"]
                print(json.dumps(line))


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
