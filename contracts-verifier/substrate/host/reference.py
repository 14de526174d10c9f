"""How fast this machine runs WASM, apart from any runtime: multiplications of 64 bits in a loop, which is what verifying a proof consists of."""

from __future__ import annotations

import time

from wasmtime import Engine, Instance, Module, Store

_LOOP = """
(module
  (func (export "run") (param $n i32) (result i64)
    (local $a i64) (local $b i64)
    (local.set $a (i64.const 0x9e3779b97f4a7c15))
    (local.set $b (i64.const 0xbf58476d1ce4e5b9))
    (loop $more
      (local.set $a (i64.add (i64.mul (local.get $a) (local.get $b)) (i64.shr_u (local.get $b) (i64.const 29))))
      (local.set $b (i64.xor (i64.mul (local.get $b) (local.get $a)) (i64.shr_u (local.get $a) (i64.const 31))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $more (local.get $n)))
    (i64.add (local.get $a) (local.get $b))))
"""
ROUNDS = 500_000
REPEATS = 3


class Reference:
    """The loop, compiled."""

    def __init__(self) -> None:
        self._store = Store(Engine())
        self._run = Instance(self._store, Module(self._store.engine, _LOOP), []).exports(self._store)["run"]

    def microseconds(self) -> float:
        """What the loop takes now, of the thread's time."""
        best = float("inf")
        for _ in range(REPEATS):
            begun = time.thread_time()
            self._run(self._store, ROUNDS)
            best = min(best, time.thread_time() - begun)
        return best * 1e6
