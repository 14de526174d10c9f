"""Crossing between Python and WebAssembly without wasmtime's checks of every value, which take longer than most host functions.

It uses the C functions that the package wasmtime wraps (the wheel's version is pinned): callbacks get their arguments as raw values, and
memory is addressed by its base, which does not move (`Config.memory_may_move`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from wasmtime import Func, FuncType, Linker, Memory, Store, Trap, WasmtimeError
from wasmtime import _bindings as c

MASK = (1 << 32) - 1


class HostError(Exception):
    """The runtime asked its host for something that is not there."""


class Guest:
    """The memory of an instance, and its allocator."""

    def __init__(self, store: Store, memory: Memory, malloc: Func) -> None:
        self.store = store
        self._memory = memory
        self._malloc = malloc._func
        self._context = store._context()
        self._base = ctypes.addressof(memory.data_ptr(store).contents)
        self._size = 0
        self._raw = (c.wasmtime_val_raw * 1)()

    def _check(self, pointer: int, length: int) -> None:
        if pointer + length > self._size:
            self._size = self._memory.data_len(self.store)
            if pointer + length > self._size:
                raise HostError(f"{length} bytes at {pointer} are not in memory")

    def read(self, fat: int) -> bytes:
        """The bytes that an i64 points to: pointer below, length above."""
        pointer, length = fat & MASK, fat >> 32 & MASK
        self._check(pointer, length)
        return ctypes.string_at(self._base + pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        self._check(pointer, len(data))
        ctypes.memmove(self._base + pointer, data, len(data))

    def give(self, data: bytes) -> int:
        """The pointer to a copy that the runtime owns."""
        self._raw[0].i32 = len(data)
        trap = ctypes.POINTER(c.wasm_trap_t)()
        error = c.wasmtime_func_call_unchecked(
            self._context, ctypes.byref(self._malloc), self._raw, 1, ctypes.byref(trap)
        )
        if error:
            raise WasmtimeError._from_ptr(error)
        if trap:
            raise Trap._from_ptr(trap)
        pointer = self._raw[0].i32 & MASK
        self.write(pointer, data)
        return pointer

    def give_fat(self, data: bytes) -> int:
        return self.give(data) | len(data) << 32


Callback = Callable[[Any], None]
_CALLBACK = c.wasmtime_func_unchecked_callback_t
_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def define(linker: Linker, name: str, type_: FuncType, body: Callback, failed: Callable[[BaseException], None]) -> Any:
    """Defines `env.name`: `body` reads its arguments from raw values and writes its result to the first. What it raises goes to `failed`
    and traps. The returned object must live as long as the linker."""

    def enter(_env: Any, _caller: Any, values: Any, _count: int) -> int:
        try:
            body(values)
            return 0
        except BaseException as error:
            failed(error)
            return ctypes.cast(Trap("host function")._consume(), ctypes.c_void_p).value or 0

    callback, encoded = _CALLBACK(enter), name.encode()
    buffer = ctypes.create_string_buffer(encoded)
    error = c.wasmtime_linker_define_func_unchecked(
        linker.ptr(), ctypes.create_string_buffer(b"env"), 3, buffer, len(encoded), type_.ptr(), callback, None, _FINALIZER()
    )
    if error:
        raise WasmtimeError._from_ptr(error)
    return callback
