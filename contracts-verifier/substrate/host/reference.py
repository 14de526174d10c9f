"""How fast this machine runs WASM, apart from any runtime: independent multiplications of 64 bits with loads and stores between them, which is
what verifying a proof consists of, and what a busy neighbour on the same core slows down alike."""

from __future__ import annotations

import time

from wasmtime import Engine, Instance, Module, Store

_CHAINS = 12
_LOCALS = " ".join(f"(local $a{i} i64)" for i in range(_CHAINS))
_SEEDS = "\n".join(f"(local.set $a{i} (i64.const {0x1E37_79B9_7F4A_7C15 + 2 * i}))" for i in range(_CHAINS))
_STEPS = "\n".join(
    f"""
      (local.set $a{i} (i64.add
        (i64.mul (local.get $a{i}) (i64.load offset={8 * i} (local.get $at)))
        (i64.shr_u (local.get $a{(i + 1) % _CHAINS}) (i64.const 32))))
      (i64.store offset={8 * i} (local.get $at) (i64.or (local.get $a{i}) (i64.const 1)))"""
    for i in range(_CHAINS)
)
_LOOP = f"""
(module
  (memory 1)
  (func (export "run") (param $n i32) (result i64)
    (local $at i32) {_LOCALS}
    {_SEEDS}
    (loop $more
      {_STEPS}
      (local.set $at (i32.and (i32.add (local.get $at) (i32.const 8)) (i32.const 16383)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $more (local.get $n)))
    (local.get $a0)))
"""
ROUNDS = 250_000
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
