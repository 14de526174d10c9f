"""The host of `host/` itself: hashes, storage, the allocator, blocks and benchmarks of the runtime, and that nothing a sender can send
brings down more than the call.

    host.py runtime.wasm [runtime-benchmarks.wasm]
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "host"))

from wasmtime import Engine, Instance, Limits, Memory, MemoryType, Module, Store, Trap

from benchmark import Benchmarks, plan
from chain import ALICE, BOB, Chain, InvalidTransaction, merged, mortal
from hashing import blake2, keccak_256, sha2_256, twox
from runtime import Runtime, RuntimeTrap
from scale import Reader, compact, vector
from storage import Storage


def raises(error: type, body, *arguments) -> None:
    try:
        body(*arguments)
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def check_hashes() -> None:
    """Known answers: FIPS and RFC vectors, and the storage prefixes that every chain of Substrate has."""
    assert keccak_256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak_256(b"abc").hex() == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    # 135 and 136 bytes: the padding in one byte, and a block of its own.
    assert keccak_256(b"a" * 135).hex() != keccak_256(b"a" * 136).hex()
    assert sha2_256(b"abc").hex().startswith("ba7816bf8f01cfea")
    assert blake2(b"abc", 32).hex().startswith("bddd813c634239723171ef3fee98579b")
    assert twox(b"System", 16).hex() == "26aa394eea5630e07c48ae0c9558cef7"
    assert twox(b"Account", 16).hex() == "b99d880ec681799c0cf30e8886371da9"


def check_scale() -> None:
    for value in [0, 63, 64, (1 << 14) - 1, 1 << 14, (1 << 30) - 1, 1 << 30, 1 << 64, (1 << 128) - 1]:
        reader = Reader(compact(value))
        assert reader.compact() == value
        reader.end()
    raises(ValueError, Reader(b"\x04").vector)
    assert mortal(64, 42) == bytes.fromhex("a502") and mortal(32768, 20000) == bytes.fromhex("4e9c")
    assert merged({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}}) == {"b": {"c": 2, "d": 3}}


def check_storage() -> None:
    storage = Storage({b"a": b"1", b"ab": b"2", b"b": b"3"})
    storage.start()
    storage.put(b"a", None)
    storage.start()
    storage.put(b"c", b"4")
    storage.append(b"list", b"x")
    storage.append(b"list", b"y")
    assert storage.get(b"list") == b"\x08xy" and storage.next_key(b"b") == b"c"
    storage.commit_transaction()
    assert storage.keys_with(b"a") == [b"ab"]
    storage.rollback()
    assert storage.top == storage.genesis and storage.next_key(b"a") == b"ab" and storage.next_key(b"b") is None
    assert storage.clear_prefix(b"a", 1)[0] == 1 and b"ab" in storage.top
    storage.wipe()
    storage.get(b"b")
    storage.put(b"b", b"9")
    storage.get(b"b")
    storage.commit()
    assert (storage.accesses[b"b"].reads, storage.accesses[b"b"].writes) == (1, 1)


def check_allocator() -> None:
    engine = Engine()
    store = Store(engine)
    memory = Memory(store, MemoryType(Limits(1, 1024)))
    wat = (Path(__file__).parent.parent / "host" / "allocator.wat").read_text()
    exports = Instance(store, Module(engine, wat), [memory]).exports(store)
    malloc, free = exports["malloc"], exports["free"]
    exports["start"](store, 12345)
    draw, live = random.Random(1), {}
    for step in range(4000):
        if live and draw.random() < 0.5:
            pointer = draw.choice(list(live))
            size, byte = live.pop(pointer)
            assert bytes(memory.read(store, pointer, pointer + size)) == bytes([byte]) * size
            free(store, pointer)
        else:
            size, byte = draw.randrange(0, 1 << draw.randrange(1, 15)), step % 251
            pointer = malloc(store, size)
            assert pointer % 8 == 0 and pointer not in live and memory.read(store, pointer - 2, pointer) == b"\0\0"
            memory.write(store, bytes([byte]) * size, pointer)
            live[pointer] = (size, byte)
    pages = memory.size(store)
    for _ in range(1000):
        free(store, malloc(store, 100_000))
    assert memory.size(store) <= pages + 3
    once = malloc(store, 10)
    free(store, once)
    for bad in (once, 0, 8, -8, 1 << 30):
        raises(Trap, free, store, bad)
    raises(Trap, malloc, store, (32 << 20) + 1)
    raises(Trap, malloc, store, -1)
    malloc(store, 32 << 20)
    raises(Trap, malloc, store, 32 << 20)


def check_chain(runtime: Runtime) -> None:
    chain = Chain(runtime)
    calls = chain.metadata
    assert chain.constant("System", "BlockWeights")["max_block"]["ref_time"] == 2 * 10**12
    free = lambda account: chain.get("System", "Account", account)["data"]["free"]  # noqa: E731
    before = free(BOB)
    transfer = calls.call("Balances", "transfer_keep_alive", dest=("Id", BOB), value=10**12)
    (outcome,) = chain.block(chain.signed(transfer, ALICE))
    assert outcome.ok and outcome.ref_time > 0 and ("Balances", "Transfer") in [event[:2] for event in outcome.events]
    assert free(BOB) == before + 10**12 and chain.nonce(ALICE) == 1
    assert chain.get("Timestamp", "Now") == 1_700_000_006_000

    too_much = calls.call("Balances", "transfer_keep_alive", dest=("Id", BOB), value=1 << 100)
    small = calls.call("Balances", "transfer_keep_alive", dest=("Id", bytes(32)), value=1)
    everything = calls.call("Balances", "transfer_keep_alive", dest=("Id", BOB), value=free(ALICE))
    chain.begin()
    assert chain.apply(chain.signed(too_much, ALICE, era=mortal(64, chain.number - 1))).error == "Arithmetic(Underflow)"
    assert chain.apply(chain.signed(small, ALICE)).error == "Token(BelowMinimum)"
    assert chain.apply(chain.signed(everything, ALICE)).error == "Token(NotExpendable)"
    assert chain.apply(chain.signed(calls.call("System", "set_code", code=b""), ALICE)).error == "BadOrigin"
    raises(InvalidTransaction, chain.apply, chain.signed(transfer, ALICE, nonce=0))
    raises(InvalidTransaction, chain.apply, chain.signed(transfer, ALICE, nonce=99))
    raises(InvalidTransaction, chain.apply, chain.signed(transfer, ALICE, era=mortal(64, chain.number)))
    raises(InvalidTransaction, chain.apply, chain.signed(transfer, bytes(32)))

    draw, state = random.Random(2), dict(chain.storage.top)
    honest = chain.signed(transfer, ALICE)
    for _ in range(100):
        noise = bytearray(honest)
        for _ in range(draw.randrange(1, 30)):
            noise[draw.randrange(2, len(noise))] = draw.randrange(256)
        for extrinsic in (vector(draw.randbytes(draw.randrange(200))), bytes(noise)):
            try:
                chain.apply(extrinsic)
            except (RuntimeTrap, InvalidTransaction):
                assert chain.storage.top == state
            state = dict(chain.storage.top)
    chain.finish()
    assert chain.block() == []
    raises(RuntimeTrap, chain.call, "BlockBuilder_finalize_block")
    raises(RuntimeTrap, chain.call, "Core_initialize_block", b"\0")

    limited = Runtime(runtime.blob, fuel=10_000)
    raises(RuntimeTrap, Chain, limited)


def check_benchmarks(blob: bytes) -> None:
    """What the weights of pallet-balances in polkadot-sdk say of the same benchmarks."""
    benchmarks = Benchmarks(blob)
    listed, storage = benchmarks.metadata()
    assert any(info.name == "Account" and info.max_size for info in storage)
    for name, reads, writes in [("transfer_allow_death", 1, 1), ("force_transfer", 2, 2), ("upgrade_accounts", 1000, 1000)]:
        benchmark = next(each for each in listed if each.name == name)
        components = plan(benchmark.components, 2)[-1]
        for measured in benchmarks.run(benchmark, components, 2, verify=False):
            assert (measured.reads, measured.writes) == (reads, writes), (name, measured.reads, measured.writes)
            assert measured.nanoseconds > 0 and measured.components == components
        benchmarks.run(benchmark, components, 1, verify=True)


def main(runtime_path: str, benchmarks_path: str | None = None) -> None:
    check_hashes()
    check_scale()
    check_storage()
    check_allocator()
    check_chain(Runtime(Path(runtime_path).read_bytes()))
    if benchmarks_path:
        check_benchmarks(Path(benchmarks_path).read_bytes())
    print("hashes, SCALE, storage, allocator, blocks" + (", benchmarks" if benchmarks_path else ""))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
