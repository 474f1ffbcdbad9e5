"""AMF0, the value encoding of RTMP commands and FLV script data (Adobe AMF 0 specification), both ways, bounded."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from relay.errors import LimitError, ProtocolError


class Undefined:
    """AMF0's undefined (§2.8); only ``UNDEFINED`` exists."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


class EcmaArray(dict[str, "AmfValue"]):
    """An object that travels as an ECMA array (§2.10), as onMetaData does."""


@dataclass(frozen=True, slots=True)
class AmfDate:
    """A date (§2.13): milliseconds since the epoch, UTC, and the reserved time zone field."""

    ms: float
    zone: int = 0


AmfValue: TypeAlias = (
    bool | int | float | str | AmfDate | Undefined | Mapping[str, "AmfValue"] | Sequence["AmfValue"] | None
)


@dataclass(frozen=True, slots=True)
class AmfLimits:
    """How deep, how many values, how many bytes a string: counts announced are never trusted."""

    depth: int = 16
    nodes: int = 1024
    string_bytes: int = 16 * 1024


_DEFAULT = AmfLimits()
_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED = 0, 1, 2, 3, 5, 6
_REFERENCE, _ECMA_ARRAY, _END, _STRICT_ARRAY, _DATE, _LONG_STRING = 7, 8, 9, 10, 11, 12
_UNSUPPORTED, _XML, _TYPED_OBJECT, _AVMPLUS = 13, 15, 16, 17
_double = struct.Struct(">d")


def decode(data: bytes | memoryview, limits: AmfLimits = _DEFAULT) -> list[AmfValue]:
    """Every value in ``data``. Raises ProtocolError (malformed, cut short) or LimitError, nothing else."""
    reader = _Reader(bytes(data), limits)
    values: list[AmfValue] = []
    while reader.at < len(reader.data):
        values.append(reader.value(0))
    return values


class _Reader:
    __slots__ = ("at", "data", "limits", "nodes", "references")

    def __init__(self, data: bytes, limits: AmfLimits) -> None:
        self.data = data
        self.at = 0
        self.limits = limits
        self.nodes = 0
        self.references: list[AmfValue] = []

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise ProtocolError("AMF0 value is cut short")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self, size: int) -> str:
        if size > self.limits.string_bytes:
            raise LimitError("amf_string", f"AMF0 string of {size} bytes; {self.limits.string_bytes} are allowed")
        # Encoders put local code pages into names; a wrong letter is better than no broadcast.
        return self.take(size).decode("utf-8", "replace")

    def value(self, depth: int) -> AmfValue:
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            raise LimitError("amf_nodes", f"more than {self.limits.nodes} AMF0 values in one message")
        if depth > self.limits.depth:
            raise LimitError("amf_depth", f"AMF0 values nested deeper than {self.limits.depth}")
        marker = self.take(1)[0]
        if marker == _NUMBER:
            number: float = _double.unpack(self.take(8))[0]
            return number
        if marker == _BOOLEAN:
            return self.take(1) != b"\x00"
        if marker == _STRING:
            return self.text(self.number(2))
        if marker in (_NULL, _UNSUPPORTED):
            return None
        if marker == _UNDEFINED:
            return UNDEFINED
        if marker in (_LONG_STRING, _XML):
            return self.text(self.number(4))
        if marker == _DATE:
            ms: float = _double.unpack(self.take(8))[0]
            return AmfDate(ms, int.from_bytes(self.take(2), "big", signed=True))
        return self.compound(marker, depth)

    def compound(self, marker: int, depth: int) -> AmfValue:
        if marker == _OBJECT:
            return self.members({}, depth)
        if marker == _ECMA_ARRAY:
            self.take(4)  # the count is a hint; the end marker decides
            return self.members(EcmaArray(), depth)
        if marker == _TYPED_OBJECT:
            self.text(self.number(2))
            return self.members({}, depth)
        if marker == _STRICT_ARRAY:
            items: list[AmfValue] = []
            self.references.append(items)
            items.extend(self.value(depth + 1) for _ in range(self.number(4)))
            return items
        if marker == _REFERENCE:
            index = self.number(2)
            if index >= len(self.references):
                raise ProtocolError(f"AMF0 reference to value {index}, which is not there")
            raise ProtocolError("AMF0 references are not supported")
        if marker == _AVMPLUS:
            raise ProtocolError("AMF3 values are not supported; set the encoder to AMF0 (object encoding 0)")
        raise ProtocolError(f"unknown AMF0 marker {marker:#04x}")

    def members(self, into: dict[str, AmfValue], depth: int) -> dict[str, AmfValue]:
        self.references.append(into)
        while True:
            name = self.text(self.number(2))
            if self.at >= len(self.data):
                # Several encoders leave out the end marker of the last ECMA array.
                if name == "" or isinstance(into, EcmaArray):
                    return into
                raise ProtocolError("AMF0 object is cut short")
            if self.data[self.at] == _END and not name:
                self.at += 1
                return into
            into[name] = self.value(depth + 1)
            if self.at >= len(self.data) and isinstance(into, EcmaArray):
                return into


def encode(*values: AmfValue) -> bytes:
    """``values`` one after the other. Raises ValueError for what AMF0 cannot say."""
    out: list[bytes] = []
    for value in values:
        _encode(value, out)
    return b"".join(out)


def _key(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > 0xFFFF:
        raise ValueError("an AMF0 member name has at most 65535 bytes")
    return len(encoded).to_bytes(2, "big") + encoded


def _encode(value: AmfValue, out: list[bytes]) -> None:
    if value is None:
        out.append(b"\x05")
    elif isinstance(value, bool):
        out.append(b"\x01\x01" if value else b"\x01\x00")
    elif isinstance(value, int | float):
        out.append(b"\x00" + _double.pack(value))
    elif isinstance(value, str):
        encoded = value.encode()
        if len(encoded) <= 0xFFFF:
            out.append(b"\x02" + len(encoded).to_bytes(2, "big") + encoded)
        else:
            out.append(b"\x0c" + len(encoded).to_bytes(4, "big") + encoded)
    elif isinstance(value, Undefined):
        out.append(b"\x06")
    elif isinstance(value, AmfDate):
        out.append(b"\x0b" + _double.pack(value.ms) + value.zone.to_bytes(2, "big", signed=True))
    elif isinstance(value, Mapping):
        out.append(b"\x08" + len(value).to_bytes(4, "big") if isinstance(value, EcmaArray) else b"\x03")
        for name, member in value.items():
            out.append(_key(name))
            _encode(member, out)
        out.append(b"\x00\x00\x09")
    else:
        out.append(b"\x0a" + len(value).to_bytes(4, "big"))
        for item in value:
            _encode(item, out)


def number(value: AmfValue, default: float = 0.0) -> float:
    """``value`` if it is a finite number, else ``default``: for fields a stranger filled in."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return float(value)
