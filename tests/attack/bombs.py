"""AMF0 that no encoder sends: commands that are deep, many, huge, out of every type, and numbers that are none."""

import math
import struct
from typing import NamedTuple

from relay.protocol.amf0 import encode

MOST_BYTES = 64 * 1024  # of a command message
NAN = b"\x00" + struct.pack(">d", math.nan)
INFINITE = b"\x00" + struct.pack(">d", -math.inf)
END = b"\x00\x00\x09"


class Bomb(NamedTuple):
    """A command message's payload. ``ends``: whether the connection must end of it."""

    name: str
    payload: bytes
    ends: bool


def _connect(*, transaction: bytes = encode(1), properties: bytes = encode({"app": "live"})) -> bytes:
    return encode("connect") + transaction + properties


def _key(name: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name


def _made() -> list[Bomb]:
    start = encode("connect", 1)
    many = MOST_BYTES - 64
    numbered = b"".join(_key(b"%05d" % number) + b"\x05" for number in range(7000))
    return [
        Bomb("objects in objects", start + b"\x03\x00\x01a" * (many // 4), True),
        Bomb("arrays in arrays", start + b"\x0a\x00\x00\x00\x01" * (many // 5), True),
        Bomb("ECMA arrays in ECMA arrays", start + b"\x08\xff\xff\xff\xff\x00\x01a" * (many // 8), True),
        Bomb("an array of 2^32 - 1", start + b"\x0a\xff\xff\xff\xff" + b"\x05" * many, True),
        Bomb("an ECMA array of 2^32 - 1", start + b"\x08\xff\xff\xff\xff" + numbered[:many] + END, True),
        Bomb("60,000 nulls", start + b"\x05" * many, True),
        Bomb("7,000 keys", (start + b"\x03" + numbered)[:many] + END, True),
        Bomb("the same key again and again", start + b"\x03" + (_key(b"app") + encode("x")) * (many // 9) + END, True),
        Bomb("keys of 16 KiB", start + b"\x03" + (_key(bytes(16 * 1024)) + b"\x05") * 3 + END, False),
        Bomb("a key of 60 KiB", start + b"\x03" + _key(bytes(60_000)) + b"\x05" + END, True),
        Bomb("strings of 16 KiB", encode("connect", 1, {"app": "x" * 16384, "tcUrl": "y" * 16384}), False),
        Bomb("a string of 2^32 - 1", start + b"\x0c\xff\xff\xff\xff" + bytes(many), True),
        Bomb("a string of 60 KiB", start + encode("x" * 60_000), True),
        Bomb("bad UTF-8", start + b"\x03" + _key(b"app") + b"\x02\x40\x00" + b"\xff\xc0" * 8192 + END, False),
        Bomb("a reference to itself", start + b"\x03" + _key(b"a") + b"\x07\x00\x00" + END, True),
        Bomb("AMF3", start + b"\x11\x0a\x0b\x01", True),
        Bomb("a marker there is none of", start + b"\x7f", True),
        Bomb("cut short", start + b"\x03\x00\x03ap", True),
        Bomb("nothing", b"", True),
        Bomb("a name that is a number", encode(1, 1, {"app": "live"}), True),
        Bomb("a name that is an object", encode({"connect": 1}, 1), True),
        Bomb("a transaction that is no number", _connect(transaction=NAN), False),
        Bomb("an infinite transaction", _connect(transaction=INFINITE), False),
        Bomb("a transaction that is an object", _connect(transaction=encode({"a": 1})), False),
        Bomb("properties that are a string", _connect(properties=encode("live")), True),
        Bomb("properties that are an array", _connect(properties=encode([1, 2, 3])), True),
        Bomb("no properties", _connect(properties=b""), True),
        Bomb("an app that is a number that is none", start + b"\x03" + _key(b"app") + NAN + END, False),
        Bomb(
            "codecs that are everything else",
            encode("connect", 1, {"app": [], "tcUrl": {}, "fourCcList": [1, None, {}], "videoFourCcInfoMap": 7}),
            False,
        ),
    ]


BOMBS = _made()
"""Each is a connect. That what comes later is read by the same parser is shown by its own tests."""
assert all(len(bomb.payload) <= MOST_BYTES for bomb in BOMBS)
