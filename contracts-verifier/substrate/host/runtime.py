"""A Substrate runtime under wasmtime: calls its API functions on a storage, as a node's executor does.

WebAssembly is without SIMD, threads and several results, as in nodes, and memory limited to the pages of the blob and
2,048 more. Every call has an instance of its own. The host functions are in `functions.py`, the allocator in `allocator.wat`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wasmtime import Config, Engine, FuncType, Instance, Limits, Linker, Memory, MemoryType, Module, Store
from wasmtime import Trap, WasmtimeError

from functions import FUNCTIONS, MASK, Call, HostError
from storage import Storage

HEAP_PAGES = 2048
# Instructions of one call, roughly; a whole block of two seconds needs about a tenth.
FUEL = 200_000_000_000

_ALLOCATOR = Path(__file__).with_name("allocator.wat").read_text()


class RuntimeTrap(Exception):
    """A call trapped; the message has what the runtime logged last."""


class Runtime:
    """A compiled runtime. `fuel` bounds a call; None measures nothing and so costs no time, for benchmarks."""

    def __init__(self, blob: bytes, fuel: int | None = FUEL) -> None:
        config = Config()
        config.wasm_relaxed_simd = False
        config.wasm_simd = False
        config.wasm_multi_value = False
        config.wasm_multi_memory = False
        config.wasm_threads = False
        config.wasm_memory64 = False
        config.wasm_tail_call = False
        config.consume_fuel = fuel is not None
        self.blob = blob
        self.fuel = fuel
        self.engine = Engine(config)
        self.module = Module(self.engine, blob)
        self.allocator = Module(self.engine, _ALLOCATOR)

    def call(self, storage: Storage, function: str, arguments: bytes = b"") -> bytes:
        """The SCALE-encoded result of an API function, for example `Core_version`. What it changes stays in `storage`, unless it traps.

        Raises RuntimeTrap if the call panics, runs out of fuel or memory, or asks for a host function that is not there.
        """
        store = Store(self.engine)
        if self.fuel is not None:
            store.set_fuel(self.fuel)
        pages = next(entry.type.limits.min for entry in self.module.imports if entry.name == "memory")
        memory = Memory(store, MemoryType(Limits(pages, pages + HEAP_PAGES)))
        linker = Linker(self.engine)
        linker.define(store, "env", "memory", memory)
        allocator = linker.instantiate(store, self.allocator).exports(store)
        linker.define(store, "env", "ext_allocator_malloc_version_1", allocator["malloc"])
        linker.define(store, "env", "ext_allocator_free_version_1", allocator["free"])
        call = Call(storage, store, memory, allocator["malloc"])
        for entry in self.module.imports:
            if isinstance(entry.type, FuncType) and "_allocator_" not in (entry.name or ""):
                linker.define_func("env", entry.name or "", entry.type, _bound(call, entry.name or ""))
        instance = linker.instantiate(store, self.module)
        return self._run(call, instance, allocator["start"], function, arguments)

    def _run(self, call: Call, instance: Instance, start: Callable[..., None], function: str, arguments: bytes) -> bytes:
        store, exports = call.store, instance.exports(call.store)
        if function not in exports:
            raise HostError(f"the runtime has no {function}")
        depth = call.storage.depth()
        call.storage.start()
        try:
            start(store, exports["__heap_base"].value(store) & MASK)
            pointer = call.give(arguments)
            result = call.read(exports[function](store, pointer, len(arguments)))
            if call.storage.depth() != depth + 1:
                raise HostError("a transaction was left open, or closed twice")
            call.storage.commit_transaction()
            return result
        except (Trap, WasmtimeError, HostError, IndexError, ValueError) as error:
            while call.storage.depth() > depth:
                call.storage.rollback()
            raise RuntimeTrap(f"{function}: {call.log[-1] if call.log else error}") from error


def _bound(call: Call, name: str) -> Callable[..., int | None]:
    """The host function of that name, for one call."""
    known = FUNCTIONS.get(name)
    if known is None:

        def missing(*_: int) -> None:
            raise HostError(f"no host function {name}")

        return missing
    return lambda *arguments: known.run(call, arguments)
