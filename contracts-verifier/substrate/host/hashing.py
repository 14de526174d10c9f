"""The hashes of Substrate: blake2, twox (xxHash with the seeds 0, 1, …), SHA-2 and Keccak-256."""

from __future__ import annotations

import hashlib

import xxhash


def blake2(data: bytes, length: int) -> bytes:
    return hashlib.blake2b(data, digest_size=length).digest()


def twox(data: bytes, length: int) -> bytes:
    return b"".join(xxhash.xxh64_intdigest(data, seed).to_bytes(8, "little") for seed in range(length // 8))


def sha2_256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_MASK = (1 << 64) - 1


def _round_constants() -> list[int]:
    constants, state = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if state & 1:
                constant |= 1 << ((1 << j) - 1)
            state = (state << 1) ^ (0x171 if state & 0x80 else 0)
        constants.append(constant)
    return constants


_ROUNDS = _round_constants()


def _rotated(word: int, by: int) -> int:
    by %= 64
    return ((word << by) | (word >> (64 - by))) & _MASK


def _permute(lanes: list[int]) -> list[int]:
    """Keccak-f[1600] on lanes[x + 5y], FIPS 202."""
    for constant in _ROUNDS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        lanes = [lane ^ columns[(i + 4) % 5] ^ _rotated(columns[(i + 1) % 5], 1) for i, lane in enumerate(lanes)]
        x, y, moving = 1, 0, lanes[1]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            moving, lanes[x + 5 * y] = lanes[x + 5 * y], _rotated(moving, (t + 1) * (t + 2) // 2)
        lanes = [
            lanes[i] ^ (~lanes[i - i % 5 + (i + 1) % 5] & lanes[i - i % 5 + (i + 2) % 5] & _MASK) for i in range(25)
        ]
        lanes[0] ^= constant
    return lanes


def keccak_256(data: bytes) -> bytes:
    rate = 136
    padded = bytearray(data + b"\1" + bytes(-(len(data) + 1) % rate))
    padded[-1] |= 0x80
    lanes = [0] * 25
    for begin in range(0, len(padded), rate):
        for i in range(rate // 8):
            at = begin + 8 * i
            lanes[i] ^= int.from_bytes(padded[at : at + 8], "little")
        lanes = _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])
