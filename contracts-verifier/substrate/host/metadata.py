"""Metadata of a runtime, version 14: its types, and the values of those types in both directions.

Values in Python: integers, bools, str; bytes for vectors and arrays of u8; lists for other sequences, arrays and tuples; a dict for a struct
with names, its only field for a struct with one field without a name; for an enum `(variant, fields)`, `Option` being None or the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hashing import blake2, twox
from scale import Reader, compact, fixed, vector

_PRIMITIVES = ["bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256"]
_HASHERS = {
    0: lambda key: blake2(key, 16),
    1: lambda key: blake2(key, 32),
    2: lambda key: blake2(key, 16) + key,
    3: lambda key: twox(key, 16),
    4: lambda key: twox(key, 32),
    5: lambda key: twox(key, 8) + key,
    6: lambda key: key,
}


@dataclass(frozen=True)
class Field:
    """A field of a struct or variant."""

    name: str | None
    type: int


@dataclass(frozen=True)
class Type:
    """`kind` is composite, variant, sequence, array, tuple, primitive, compact or bits; `shape` what belongs to it."""

    path: list[str]
    kind: str
    shape: Any


@dataclass(frozen=True)
class Entry:
    """A storage item: the types of its keys and value, the hashers of its keys, its default."""

    prefix: bytes
    hashers: list[int]
    keys: list[int]
    value: int
    default: bytes | None

    def key(self, metadata: Metadata, *keys: Any) -> bytes:
        parts = [_HASHERS[h](metadata.encode(t, key)) for h, t, key in zip(self.hashers, self.keys, keys, strict=True)]
        return self.prefix + b"".join(parts)


@dataclass(frozen=True)
class Pallet:
    """A pallet: its index, storage, the types of its calls, events and errors, its constants."""

    name: str
    index: int
    storage: dict[str, Entry]
    calls: int | None
    event: int | None
    error: int | None
    constants: dict[str, tuple[int, bytes]]


def _field(reader: Reader) -> Field:
    field = Field(reader.option(Reader.text), reader.compact())
    reader.option(Reader.text)
    reader.sequence(Reader.text)
    return field


def _variant(reader: Reader) -> tuple[int, str, list[Field]]:
    name, fields, index = reader.text(), reader.sequence(_field), reader.fixed(1)
    reader.sequence(Reader.text)
    return index, name, fields


def _type(reader: Reader) -> Type:
    reader.compact()
    path = reader.sequence(Reader.text)
    reader.sequence(lambda r: (r.text(), r.option(Reader.compact)))
    kind = reader.fixed(1)
    name, shape = [
        ("composite", lambda: reader.sequence(_field)),
        ("variant", lambda: {index: (name, fields) for index, name, fields in reader.sequence(_variant)}),
        ("sequence", reader.compact),
        ("array", lambda: (reader.fixed(4), reader.compact())),
        ("tuple", lambda: reader.sequence(Reader.compact)),
        ("primitive", lambda: _PRIMITIVES[reader.fixed(1)]),
        ("compact", reader.compact),
        ("bits", lambda: (reader.compact(), reader.compact())),
    ][kind]
    found = Type(path, name, shape())
    reader.sequence(Reader.text)
    return found


class Metadata:
    """What `Metadata_metadata` returns."""

    def __init__(self, opaque: bytes) -> None:
        reader = Reader(Reader(opaque).vector())
        if reader.take(5) != b"meta\x0e":
            raise ValueError("not metadata of version 14")
        self.types = reader.sequence(_type)
        self.pallets = {pallet.name: pallet for pallet in reader.sequence(self._pallet)}
        reader.compact()
        self.extrinsic_version = reader.fixed(1)
        self.extensions = [name for name, _, _ in reader.sequence(lambda r: (r.text(), r.compact(), r.compact()))]

    def _pallet(self, reader: Reader) -> Pallet:
        name = reader.text()
        storage = reader.option(lambda r: (r.text(), r.sequence(self._entry)))
        calls, event = reader.option(Reader.compact), reader.option(Reader.compact)
        constants = {}
        for _ in range(reader.compact()):
            constant = reader.text()
            constants[constant] = (reader.compact(), reader.vector())
            reader.sequence(Reader.text)
        error, index = reader.option(Reader.compact), reader.fixed(1)
        entries = {}
        for entry, (hashers, keys, value, default) in storage[1] if storage else []:
            prefix = twox(storage[0].encode(), 16) + twox(entry.encode(), 16)
            entries[entry] = Entry(prefix, hashers, keys, value, default)
        return Pallet(name, index, entries, calls, event, error, constants)

    def _entry(self, reader: Reader) -> tuple[str, tuple[list[int], list[int], int, bytes | None]]:
        name, with_default = reader.text(), reader.fixed(1)
        hashers: list[int] = []
        keys: list[int] = []
        if reader.fixed(1):
            hashers, key = list(reader.sequence(lambda r: r.fixed(1))), reader.compact()
            keys = [key] if len(hashers) == 1 else self.types[key].shape
        value, default = reader.compact(), reader.vector()
        reader.sequence(Reader.text)
        return name, (hashers, keys, value, default if with_default else None)

    def decode(self, type_id: int, reader: Reader) -> Any:
        found = self.types[type_id]
        kind, shape = found.kind, found.shape
        if kind == "primitive":
            return self._decode_primitive(shape, reader)
        if kind == "compact":
            return reader.compact()
        if kind in ("sequence", "array"):
            count, item = (reader.compact(), shape) if kind == "sequence" else shape
            if self.types[item].shape == "u8":
                return reader.take(count)
            return [self.decode(item, reader) for _ in range(count)]
        if kind == "tuple":
            return [self.decode(item, reader) for item in shape]
        if kind == "composite":
            return self._decode_fields(shape, reader)
        if kind == "variant":
            name, fields = shape[reader.fixed(1)]
            if found.path == ["Option"]:
                return self._decode_fields(fields, reader) if name == "Some" else None
            return name, self._decode_fields(fields, reader)
        raise ValueError(f"no values of kind {kind}")

    def _decode_fields(self, fields: list[Field], reader: Reader) -> Any:
        if len(fields) == 1 and fields[0].name is None:
            return self.decode(fields[0].type, reader)
        values = [self.decode(field.type, reader) for field in fields]
        return dict(zip((field.name for field in fields), values)) if fields and fields[0].name else values

    @staticmethod
    def _decode_primitive(name: str, reader: Reader) -> Any:
        if name == "bool":
            return bool(reader.fixed(1))
        if name == "str":
            return reader.text()
        size = 4 if name == "char" else int(name[1:]) // 8
        return int.from_bytes(reader.take(size), "little", signed=name[0] == "i")

    def encode(self, type_id: int, value: Any) -> bytes:
        found = self.types[type_id]
        kind, shape = found.kind, found.shape
        if kind == "primitive":
            if shape == "str":
                return vector(value.encode())
            size = {"bool": 1, "char": 4}.get(shape) or int(shape[1:]) // 8
            return int(value).to_bytes(size, "little", signed=shape[0] == "i")
        if kind == "compact":
            return compact(value)
        if kind in ("sequence", "array"):
            item = shape if kind == "sequence" else shape[1]
            if kind == "array" and len(value) != shape[0]:
                raise ValueError(f"{shape[0]} items wanted, {len(value)} given")
            body = value if isinstance(value, bytes) else b"".join(self.encode(item, each) for each in value)
            return (compact(len(value)) if kind == "sequence" else b"") + body
        if kind == "tuple":
            return b"".join(self.encode(item, each) for item, each in zip(shape, value, strict=True))
        if kind == "composite":
            return self._encode_fields(shape, value)
        if kind == "variant":
            if found.path == ["Option"]:
                value = ("None", []) if value is None else ("Some", value)
            index, fields = next((i, fields) for i, (name, fields) in shape.items() if name == value[0])
            return fixed(index, 1) + self._encode_fields(fields, value[1])
        raise ValueError(f"no values of kind {kind}")

    def _encode_fields(self, fields: list[Field], value: Any) -> bytes:
        if len(fields) == 1 and fields[0].name is None:
            return self.encode(fields[0].type, value)
        values = [value[field.name] for field in fields] if fields and fields[0].name else value
        return b"".join(self.encode(field.type, each) for field, each in zip(fields, values, strict=True))

    def call(self, pallet: str, name: str, **arguments: Any) -> bytes:
        """The encoded call; raises KeyError or StopIteration if there is none of that name or an argument is missing."""
        found = self.pallets[pallet]
        return fixed(found.index, 1) + self.encode(found.calls, (name, arguments or []))

    def error(self, index: int, error: int) -> str:
        """`Pallet::Error`, as far as it is known."""
        pallet = next((pallet for pallet in self.pallets.values() if pallet.index == index), None)
        names = self.types[pallet.error].shape if pallet and pallet.error is not None else {}
        return f"{pallet.name if pallet else index}::{names[error][0] if error in names else error}"
