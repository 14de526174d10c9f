"""Writes the pallet's weights: runs its benchmarks and fits a linear model to each.

    weights.py runtime-benchmarks.wasm weights.rs [STEPS [REPEATS]]

Run it on a machine that does nothing else, and format what it wrote (`cargo fmt`).

The form of a model comes from instructions, which the engine counts and which no machine changes: least squares over all points, with no
negative slope. Its scale comes from time, at the outermost points, each the least of its repetitions (what else the machine does only
adds): the most nanoseconds that an instruction takes in a verification, and what host functions take beyond that, fitted likewise.
MARGIN times the sum is declared.
What a read adds to the size of a proof is what frame-benchmarking's command line counts: the greatest size of the entry, and the
trie above a million entries. Prints the models.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmark import Benchmark, Benchmarks, Measurement, StorageInfo, plan
from reference import Reference

PALLET = "pallet_zkinfer_verifier"
# Machines differ, and a weight that is too small is a way to stall a chain.
MARGIN = 1.5
ROUNDS = 3
# Seven layers of a trie, 15 hashes of 33 bytes each.
TRIE_BYTES = 7 * 15 * 33
WORDS = {"b": "bytes", "w": "words", "p": "points", "s": "steps", "n": "attestations"}

HEADER = '''//! # Weights of the calls
//! Written by `host/weights.py` from the benchmarks of [`crate::benchmarking`], run in WASM on wasmtime by one thread; the margin over what was
//! measured is {margin}; the loop of `host/reference.py` took {reference} us. Picoseconds, and bytes of proof. `b` counts bytes, `w` words, `p` points, `s` steps, `n` attestations.

use core::marker::PhantomData;

use frame_support::{{
    traits::Get,
    weights::{{Weight, constants::RocksDbWeight}},
}};

/// Times of the calls.
pub trait WeightInfo {{
{declarations}
    /// `register_key` of `b` bytes, whatever the system.
    fn register_key(b: u32) -> Weight {{
        Self::register_groth16(b)
            .max(Self::register_ultragroth(b))
            .max(Self::register_halo2_kzg(b))
    }}
}}

/// Weights with the database of the chain.
#[derive(Debug)]
pub struct Measured<T>(PhantomData<T>);
'''

DOCS = {
    "register_groth16": "`register_key` of a key of `groth16`.",
    "register_ultragroth": "`register_key` of a key of `ultragroth`.",
    "register_halo2_kzg": "`register_key` of a key of `halo2-kzg`.",
    "retire_key": "`retire_key`.",
    "revoke_key": "`revoke_key`.",
    "refuse": "`verify` that is refused before the key is read.",
    "expire": "Removal of expired attestations.",
    "verify_groth16": "`verify` of `groth16`.",
    "verify_ultragroth": "`verify` of `ultragroth`.",
    "verify_halo2_kzg": "`verify` of `halo2-kzg`.",
}


@dataclass(frozen=True)
class Model:
    """`base` and a slope for each component, none negative."""

    base: float
    slopes: dict[str, float]

    def at(self, components: dict[str, int]) -> float:
        return self.base + sum(self.slopes.get(name, 0.0) * value for name, value in components.items())


def fit(points: list[tuple[dict[str, int], float]]) -> Model:
    """Least squares; components whose slope would be negative are left out one by one."""
    names = list(points[0][0])
    while True:
        rows = [[1.0, *(float(at[name]) for name in names)] for at, _ in points]
        size = len(names) + 1
        matrix = [[sum(row[i] * row[j] for row in rows) for j in range(size)] for i in range(size)]
        for i, line in enumerate(matrix):
            line.append(sum(row[i] * value for row, (_, value) in zip(rows, points)))
        solution = _solve(matrix)
        worst = min(range(1, size), key=lambda i: solution[i], default=0)
        if worst == 0 or solution[worst] >= 0:
            return Model(max(0.0, solution[0]), dict(zip(names, solution[1:])))
        names.pop(worst - 1)


def _solve(matrix: list[list[float]]) -> list[float]:
    """Gauss with pivots, of an augmented matrix."""
    size = len(matrix)
    for i in range(size):
        pivot = max(range(i, size), key=lambda row: abs(matrix[row][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        for row in range(size):
            if row != i:
                factor = matrix[row][i] / matrix[i][i]
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[i])]
    return [line[size] / line[i] for i, line in enumerate(matrix)]


def proof_bytes(measured: Measurement, storage: list[StorageInfo]) -> int:
    """What the keys that were read add to a proof at most."""
    total = 0
    for key, reads, _, whitelisted in measured.keys:
        if reads and not whitelisted:
            info = next((info for info in storage if key.startswith(info.prefix)), None)
            total += TRIE_BYTES + ((info.max_size or 0) if info else 0)
    return total


@dataclass(frozen=True)
class Measured:
    """A benchmark at all points, in instructions; at the outermost, which come first, also in nanoseconds."""

    points: list[Measurement]
    nanoseconds: list[int]

    def rate(self) -> float:
        """The most nanoseconds that an instruction takes."""
        return max((time / point.nanoseconds for time, point in zip(self.nanoseconds, self.points)), default=0.0)

    def times(self, rate: float) -> Model:
        """In nanoseconds."""
        instructions = fit([(m.components, m.nanoseconds * rate) for m in self.points])
        outermost = list(zip(self.points, self.nanoseconds))
        if not outermost:
            return instructions
        rest = [(m.components, max(0.0, time - m.nanoseconds * rate)) for m, time in outermost]
        host = fit(rest)
        uncovered = max(value - host.at(components) for components, value in rest)
        slopes = {name: instructions.slopes.get(name, 0.0) + host.slopes.get(name, 0.0) for name in self.points[0].components}
        return Model(instructions.base + host.base + max(0.0, uncovered), slopes)


def corners(benchmark: Benchmark) -> list[dict[str, int]]:
    """All components at their least, all at their greatest, and each alone at its greatest."""
    low = {component.name: component.low for component in benchmark.components}
    top = {component.name: component.high for component in benchmark.components}
    return [low, top, *({**low, component.name: component.high} for component in benchmark.components)]


def measure(counted: Benchmarks, timed: Benchmarks, benchmark: Benchmark, steps: int, repeats: int) -> Measured:
    places = [*corners(benchmark), *plan(benchmark.components, steps)]
    points = [counted.run(benchmark, at)[0] for at in places]
    if not repeats:
        return Measured(points, [])
    # Several rounds, so that no point has all of its repetitions in a bad moment.
    rounds = [[timed.run(benchmark, at, ceil(repeats / ROUNDS)) for at in corners(benchmark)] for _ in range(ROUNDS)]
    return Measured(points, [min(m.nanoseconds for run in runs for m in run) for runs in zip(*rounds)])


def function(
    benchmark: Benchmark, measured: Measured, rate: float, storage: list[StorageInfo], database: str
) -> tuple[str, str]:
    """The function's source, and its model in words."""
    points = measured.points
    times = measured.times(rate)
    reads = fit([(m.components, float(m.reads)) for m in points])
    writes = fit([(m.components, float(m.writes)) for m in points])
    proof = fit([(m.components, float(proof_bytes(m, storage))) for m in points])
    lines = [f"Weight::from_parts({_number(times.base * 1000 * MARGIN)}, {_number(round(proof.base))})"]
    for name in (component.name for component in benchmark.components):
        slope, size = times.slopes.get(name, 0) * 1000 * MARGIN, round(proof.slopes.get(name, 0))
        if slope >= 1 or size:
            lines.append(f".saturating_add(Weight::from_parts({_number(slope)}, {_number(size)}).saturating_mul({name}.into()))")
    lines.append(f".saturating_add({database}.reads({round(reads.base)}))")
    lines.append(f".saturating_add({database}.writes({round(writes.base)}))")
    for kind, model in (("reads", reads), ("writes", writes)):
        for name, slope in model.slopes.items():
            if round(slope):
                lines.append(f".saturating_add({database}.{kind}({round(slope)}).saturating_mul({name}.into()))")
    used = {name for name in (c.name for c in benchmark.components) if any(f"({name}.into())" in line for line in lines)}
    parameters = ", ".join(f"{c.name if c.name in used else '_' + c.name}: u32" for c in benchmark.components)
    body = "\n            ".join(lines)
    source = f"    fn {benchmark.name}({parameters}) -> Weight {{\n        {body}\n    }}"
    slopes = "".join(f" + {slope / 1e3:.3f} us x {WORDS[name]}" for name, slope in times.slopes.items() if slope > 0)
    return source, f"{benchmark.name}: {times.base / 1e6:.3f} ms{slopes}"


def _number(value: float) -> str:
    return f"{ceil(value):_}"


def written(blob: bytes, steps: int, repeats: int, say: Callable[[str], None]) -> str:
    """The whole file; with no repetitions, without times."""
    counted, timed = Benchmarks(blob, counts_instructions=True), Benchmarks(blob)
    listed, storage = counted.metadata()
    reference, loops = Reference(), []
    measured = []
    for benchmark in sorted((b for b in listed if b.pallet == PALLET), key=lambda b: list(DOCS).index(b.name)):
        measured.append((benchmark, measure(counted, timed, benchmark, steps, repeats)))
        loops.append(reference.microseconds())
    rate = max(m.rate() for benchmark, m in measured if benchmark.name.startswith("verify_"))
    say(f"{rate:.4f} ns an instruction")
    chain, default, declarations = [], [], []
    for benchmark, points in measured:
        source, words = function(benchmark, points, rate, storage, "T::DbWeight::get()")
        chain.append(source)
        default.append(source.replace("T::DbWeight::get()", "RocksDbWeight::get()"))
        parameters = ", ".join(f"{c.name}: u32" for c in benchmark.components)
        declarations.append(f"    /// {DOCS[benchmark.name]}\n    fn {benchmark.name}({parameters}) -> Weight;")
        say(words)
    text = HEADER.format(margin=MARGIN, reference=round(min(loops)), declarations="\n".join(declarations))
    for title, functions in (("impl<T: frame_system::Config> WeightInfo for Measured<T>", chain), ("impl WeightInfo for ()", default)):
        text += f"\n{title} {{\n" + "\n\n".join(functions) + "\n}\n"
    return text


def counts(text: str) -> dict[str, str]:
    """What the functions of a file say of reads, writes and bytes of proof, without the times."""
    found = {}
    for name, body in re.findall(r"fn (\w+)\([^)]*\) -> Weight \{(.*?)\n    \}", text, re.DOTALL):
        if name == "register_key":
            continue
        body = re.sub(r"from_parts\([\d_]+,([\d_]+)\)", r"from_parts(,\1)", re.sub(r"\s", "", body))
        found.setdefault(name, re.sub(r"\.saturating_add\(Weight::from_parts\(,0\)\.saturating_mul\(\w\.into\(\)\)\)", "", body))
    return found


def reference_microseconds(text: str) -> int:
    """What the loop took when a file was written."""
    return int(re.search(r"took (\d+) us", text)[1])


def main(blob: str, output: str, steps: str = "8", repeats: str = "15") -> None:
    text = written(Path(blob).read_bytes(), int(steps), int(repeats), lambda words: print(words, flush=True))
    Path(output).write_text(text)


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
