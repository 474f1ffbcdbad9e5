"""What the lines of HLS playlists consist of: attribute lists, URIs, numbers, byte ranges, all of them in bounds."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from relay.errors import ProtocolError

URI_CHARACTERS = 4096
LONGEST_S = 86_400.0
MOST_OFFSET = 1 << 53

_ATTRIBUTE = re.compile(r'\s*([A-Z0-9-]{1,64})=("[^"]*"|[^",]*)\s*(?:,|$)')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]|\{\$")  # no URI has these; {$…} are variables, which nobody defined
_INTEGER = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{1,10}(?:\.[0-9]{0,20})?")
_RANGE = re.compile(r"([0-9]{1,16})(?:@([0-9]{1,16}))?")
_IV = re.compile(r"0[xX]([0-9a-fA-F]{1,32})")


class ByteRange(NamedTuple):
    """Part of a resource, in bytes."""

    offset: int
    length: int


def attributes(line: str) -> Mapping[str, str]:
    """The attribute list (§4.2) behind a tag's colon, quotes removed."""
    return dict(_pairs(line, line.index(":") + 1 if ":" in line else len(line)))


def _pairs(line: str, at: int) -> Iterator[tuple[str, str]]:
    while at < len(line):
        found = _ATTRIBUTE.match(line, at)
        if found is None:
            raise ProtocolError(f"{line[1:].partition(':')[0][:40]} has attributes that cannot be read")
        yield found[1], found[2].strip('"').strip()
        at = found.end()


def uri_of(text: str) -> str:
    """``text`` if it can be fetched: relative, or http(s)."""
    if not text or len(text) > URI_CHARACTERS:
        raise ProtocolError("the playlist names an empty or endless URI")
    if _UNFIT.search(text):
        raise ProtocolError("the playlist names a URI with characters that no URI has")
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() not in ("http", "https"):
        raise ProtocolError(f"the playlist names a {scheme[1][:20].lower()} URI; only http and https are fetched")
    return text


def integer(text: str, what: str, most: int) -> int:
    if _INTEGER.fullmatch(text) is None or int(text) > most:
        raise ProtocolError(f"{what} is no number in range")
    return int(text)


def seconds(text: str, what: str) -> float:
    if _DECIMAL.fullmatch(text) is None or float(text) > LONGEST_S:
        raise ProtocolError(f"{what} is no duration in seconds")
    return float(text)


def length_and_offset(text: str, what: str) -> tuple[int, int | None]:
    """(length, offset if given)."""
    found = _RANGE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ProtocolError(f"{what} has no byte range LENGTH@OFFSET")
    return int(found[1]), None if found[2] is None else int(found[2])


def placed(uri: str, written: tuple[int, int | None], before: tuple[str, int]) -> ByteRange:
    """A range of ``uri`` as (length, offset if given); without one it goes on where ``before`` (URI, end) ended."""
    length, offset = written
    if offset is None:
        if before[0] != uri:
            raise ProtocolError("a byte range has no offset, and no range of the same URI is before it")
        offset = before[1]
    if offset + length > MOST_OFFSET:
        raise ProtocolError("a byte range is out of range")
    return ByteRange(offset, length)


def key_of(found: Mapping[str, str]) -> tuple[str, bytes | None] | None:
    """URI and IV, where one is given, of an EXT-X-KEY; None where it ends encryption."""
    method = found.get("METHOD", "")
    if method == "NONE":
        return None
    if method != "AES-128" or found.get("KEYFORMAT", "identity") != "identity":
        raise ProtocolError("the segments are encrypted in a way that cannot be pulled; only AES-128 can")
    if "URI" not in found:
        raise ProtocolError("EXT-X-KEY has no URI")
    iv = None
    if "IV" in found:
        written = _IV.fullmatch(found["IV"])
        if written is None:
            raise ProtocolError("EXT-X-KEY has an IV that is no number of 128 bits")
        iv = int(written[1], 16).to_bytes(16, "big")
    return uri_of(found["URI"]), iv
