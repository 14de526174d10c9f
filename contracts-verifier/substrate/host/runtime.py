"""A Substrate runtime under wasmtime: calls its API functions on a storage, as a node's executor does.

WebAssembly is without SIMD, threads and several results, as in nodes, and memory limited to the pages of the blob and
2,048 more. Every call has an instance of its own. The host functions are in `functions.py`, the allocator in `allocator.wat`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wasmtime import Config, Engine, FuncType, Instance, Limits, Linker, Memory, MemoryType, Module, Store
from wasmtime import Trap, WasmtimeError

from boundary import MASK, HostError, define
from functions import FUNCTIONS, Call
from storage import Storage

HEAP_PAGES = 2048
# Instructions of one call, roughly; a whole block of two seconds needs about a tenth.
FUEL = 200_000_000_000

_ALLOCATOR = Path(__file__).with_name("allocator.wat").read_text()


class RuntimeTrap(Exception):
    """A call trapped; the message has what the runtime logged last."""


class Runtime:
    """A compiled runtime, for one thread. `fuel` bounds a call; None bounds nothing and costs no time, for benchmarks."""

    def __init__(self, blob: bytes, fuel: int | None = FUEL, counts_instructions: bool = False) -> None:
        config = Config()
        config.wasm_relaxed_simd = False
        config.wasm_simd = False
        config.wasm_multi_value = False
        config.wasm_multi_memory = False
        config.wasm_threads = False
        config.wasm_memory64 = False
        config.wasm_tail_call = False
        config.memory_may_move = False
        config.consume_fuel = fuel is not None
        self.blob = blob
        self.fuel = fuel
        self.counts_instructions = counts_instructions
        self.engine = Engine(config)
        self._module = Module(self.engine, blob)
        self._allocator = Module(self.engine, _ALLOCATOR)
        self._linker = Linker(self.engine)
        self._linker.allow_shadowing = True
        self._callbacks: list[Any] = []
        self._call: Call | None = None
        self._failure: BaseException | None = None
        self._pages = 0
        for entry in self._module.imports:
            if isinstance(entry.type, FuncType):
                self._define(entry.name or "", entry.type)
            elif isinstance(entry.type, MemoryType):
                self._pages = entry.type.limits.min

    def call(self, storage: Storage, function: str, arguments: bytes = b"") -> bytes:
        """The SCALE-encoded result of an API function, for example `Core_version`. What it changes stays in `storage`, unless it traps.

        Raises RuntimeTrap if the call panics, runs out of fuel or memory, or asks for a host function that is not there.
        """
        store = Store(self.engine)
        if self.fuel is not None:
            store.set_fuel(FUEL)
        memory = Memory(store, MemoryType(Limits(self._pages, self._pages + HEAP_PAGES)))
        self._linker.define(store, "env", "memory", memory)
        allocator = self._linker.instantiate(store, self._allocator).exports(store)
        self._linker.define(store, "env", "ext_allocator_malloc_version_1", allocator["malloc"])
        self._linker.define(store, "env", "ext_allocator_free_version_1", allocator["free"])
        self._call = Call(storage, store, memory, allocator["malloc"])
        if self.counts_instructions:
            self._call.clock = lambda: FUEL - store.get_fuel()
        instance = self._linker.instantiate(store, self._module)
        return self._run(self._call, instance, allocator["start"], function, arguments)

    def _define(self, name: str, type_: FuncType) -> None:
        known = FUNCTIONS.get(name)

        def body(values: Any) -> None:
            if known is None:
                raise HostError(f"no host function {name}")
            known.run(self._call, values)

        self._callbacks.append(define(self._linker, name, type_, body, self._failed))

    def _failed(self, error: BaseException) -> None:
        self._failure = error

    def _run(self, call: Call, instance: Instance, start: Callable[..., None], function: str, arguments: bytes) -> bytes:
        store, exports = call.store, instance.exports(call.store)
        if function not in exports:
            raise HostError(f"the runtime has no {function}")
        depth = call.storage.depth()
        call.storage.start()
        if self.fuel is not None:
            store.set_fuel(self.fuel)
        try:
            start(store, exports["__heap_base"].value(store) & MASK)
            pointer = call.give(arguments)
            result = call.read(exports[function](store, pointer, len(arguments)))
            if call.storage.depth() != depth + 1:
                raise HostError("a transaction was left open, or closed twice")
            call.storage.commit_transaction()
            return result
        except (Trap, WasmtimeError, HostError) as error:
            while call.storage.depth() > depth:
                call.storage.rollback()
            cause, self._failure = self._failure or error, None
            if not isinstance(cause, Exception):
                raise cause
            raise RuntimeTrap(f"{function}: {call.log[-1] if call.log else cause}") from cause

