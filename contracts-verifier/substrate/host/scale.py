"""SCALE, the encoding of Substrate: what the runtime APIs and host functions of this folder need of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def fixed(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def compact(value: int) -> bytes:
    if value < 1 << 6:
        return fixed(value << 2, 1)
    if value < 1 << 14:
        return fixed(value << 2 | 1, 2)
    if value < 1 << 30:
        return fixed(value << 2 | 2, 4)
    size = max(4, (value.bit_length() + 7) // 8)
    return fixed((size - 4) << 2 | 3, 1) + fixed(value, size)


def vector(data: bytes) -> bytes:
    """`Vec<u8>`, or any type whose bytes come with their length."""
    return compact(len(data)) + data


def sequence(items: list[bytes]) -> bytes:
    return compact(len(items)) + b"".join(items)


def option(data: bytes | None) -> bytes:
    return b"\0" if data is None else b"\1" + data


class Reader:
    """Reads values from the front of `data`; raises ValueError past its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) != size:
            raise ValueError(f"{size} bytes wanted at {self.at} of {len(self.data)}")
        self.at += size
        return taken

    def fixed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def compact(self) -> int:
        first = self.fixed(1)
        mode = first & 3
        if mode == 3:
            return self.fixed((first >> 2) + 4)
        return (first | self.fixed((1 << mode) - 1) << 8) >> 2

    def vector(self) -> bytes:
        return self.take(self.compact())

    def text(self) -> str:
        return self.vector().decode()

    def sequence(self, item: Callable[["Reader"], T]) -> list[T]:
        return [item(self) for _ in range(self.compact())]

    def option(self, some: Callable[["Reader"], T]) -> T | None:
        return some(self) if self.fixed(1) else None

    def end(self) -> None:
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes too many")
