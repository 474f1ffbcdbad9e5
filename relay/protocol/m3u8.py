"""HLS playlists of strangers (RFC 8216, and of its second edition what a puller needs) as small frozen values.

The m3u8 package reads every playlist, but takes NaN, negative and endless durations as they come, raises whatever its
conversions raise, and needs a time that grows with the square of the number of keys: it is left to the tests, which
compare. Deliberately without parts: segments are pulled whole, at the moment they are, by blocking reload.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from relay.errors import LimitError, ProtocolError

MOST_BYTES = 256 * 1024
LINE_CHARACTERS = 8192
URI_CHARACTERS = 4096
MOST_VARIANTS = 200
LONGEST_S = 86_400.0
SHORTEST_TARGET_S = 1.0
MOST_SEQUENCE = 1 << 62
MOST_OFFSET = 1 << 53

_ATTRIBUTE = re.compile(r'\s*([A-Z0-9-]{1,64})=("[^"]*"|[^",]*)\s*(?:,|$)')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]|\{\$")  # no URI has these; {$…} are variables, which nobody defined
_INTEGER = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{1,10}(?:\.[0-9]{0,20})?")
_RANGE = re.compile(r"([0-9]{1,16})(?:@([0-9]{1,16}))?")
_RESOLUTION = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_IV = re.compile(r"0[xX]([0-9a-fA-F]{1,32})")


class ByteRange(NamedTuple):
    """Part of a resource, in bytes."""

    offset: int
    length: int


class Key(NamedTuple):
    """AES-128 in CBC mode (§4.3.2.4). ``iv``: 16 bytes."""

    uri: str
    iv: bytes


class Init(NamedTuple):
    """Where a segment's init segment is (EXT-X-MAP); ``key``: what it is encrypted with."""

    uri: str
    byte_range: ByteRange | None
    key: Key | None


@dataclass(frozen=True, slots=True)
class Segment:
    """One media segment. ``sequence`` is its media sequence number; URIs are as written (``resolve``)."""

    sequence: int
    uri: str
    duration_s: float
    byte_range: ByteRange | None = None
    key: Key | None = None
    init: Init | None = None
    is_discontinuity: bool = False
    is_gap: bool = False
    date: str = ""  # EXT-X-PROGRAM-DATE-TIME as written


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """``target_s`` and the segments there are now. ``kind``: EVENT, VOD or empty. ``can_block``: 8216bis §6.2.5.2."""

    target_s: float
    sequence: int
    segments: tuple[Segment, ...]
    kind: str = ""
    is_ended: bool = False
    can_block: bool = False

    @property
    def next_sequence(self) -> int:
        """The number behind the last segment's."""
        return self.sequence + len(self.segments)


@dataclass(frozen=True, slots=True)
class Variant:
    """One EXT-X-STREAM-INF. ``bandwidth`` in bit/s; ``audio``: the group its sound is in, if it is apart."""

    uri: str
    bandwidth: int
    codecs: str = ""
    width: int = 0
    height: int = 0
    audio: str = ""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One EXT-X-MEDIA of type AUDIO. Without a URI it is in the variant's own segments."""

    group: str
    name: str
    uri: str = ""
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Multivariant:
    """The same programme in several forms."""

    variants: tuple[Variant, ...]
    audio: tuple[Rendition, ...] = ()

    def sound_of(self, variant: Variant) -> Rendition | None:
        """The rendition that has ``variant``'s sound; None where it is in the variant's own segments."""
        found = [item for item in self.audio if item.group == variant.audio] if variant.audio else []
        if any(not item.uri for item in found):
            return None
        return next((item for item in found if item.is_default), found[0] if found else None)

    def best(self, max_kbps: int) -> Variant:
        """The best variant of at most ``max_kbps`` (0: any), or else the smallest."""
        # Audio alone is there for those whose link bears no picture.
        seen = [item for item in self.variants if item.height or _has_video(item.codecs)] or self.variants
        fitting = [item for item in seen if not max_kbps or item.bandwidth <= max_kbps * 1000]
        if fitting:
            return max(fitting, key=lambda item: (item.bandwidth, item.height))
        return min(seen, key=lambda item: item.bandwidth)


def _has_video(codecs: str) -> bool:
    """Whether an RFC 6381 list names a video codec; an empty one says nothing against it."""
    names = [name.strip().split(".")[0].lower() for name in codecs.split(",") if name.strip()]
    return not names or any(name not in ("mp4a", "ac-3", "ec-3", "opus", "flac", "alac") for name in names)


def resolve(base: str, uri: str) -> str:
    """``uri`` of a playlist at ``base`` as an absolute http or https URL. Raises ProtocolError where it is none."""
    try:
        url = urljoin(base, _uri(uri))
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ProtocolError(f"the playlist names a URI that is none: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ProtocolError(f"the playlist names a {parts.scheme or 'broken'} URI; only http and https are fetched")
    return url


def parse(data: bytes, most_bytes: int = MOST_BYTES) -> MediaPlaylist | Multivariant:
    """The playlist in ``data``. Raises ProtocolError saying what is wrong with it, LimitError where it is too large."""
    if len(data) > most_bytes:
        raise LimitError("hls_playlist", f"the playlist has more than {most_bytes} bytes")
    lines = _lines(data)
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF:"):
            return _multivariant(lines)
        if line.startswith(("#EXTINF:", "#EXT-X-TARGETDURATION:", "#EXT-X-MEDIA-SEQUENCE:")):
            break
    return _Media().read(lines)


def _lines(data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProtocolError("not a playlist: it is no UTF-8 text") from None
    lines = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    if not re.match(r"#EXTM3U(?:\s|$)", lines[0]):
        raise ProtocolError("not a playlist: it does not begin with #EXTM3U")
    if any(len(line) > LINE_CHARACTERS for line in lines):
        raise LimitError("hls_playlist", f"the playlist has a line of more than {LINE_CHARACTERS} characters")
    return [line for line in lines[1:] if line]


def _multivariant(lines: list[str]) -> Multivariant:
    variants: list[Variant] = []
    audio: list[Rendition] = []
    pending: Mapping[str, str] | None = None
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF:"):
            pending = _attributes(line)
        elif line.startswith("#EXT-X-MEDIA:"):
            found = _attributes(line)
            if found.get("TYPE") == "AUDIO":
                uri = _uri(found["URI"]) if "URI" in found else ""
                is_default = found.get("DEFAULT") == "YES"
                audio.append(Rendition(found.get("GROUP-ID", ""), found.get("NAME", ""), uri, is_default))
        elif line.startswith(("#EXTINF:", "#EXT-X-TARGETDURATION:")):
            raise ProtocolError("the playlist is both a list of variants and one of segments")
        elif not line.startswith("#"):
            if pending is None:
                raise ProtocolError("the playlist names a variant without EXT-X-STREAM-INF")
            size = _RESOLUTION.fullmatch(pending.get("RESOLUTION", ""))
            variants.append(
                Variant(
                    _uri(line),
                    _integer(pending.get("BANDWIDTH", "0"), "BANDWIDTH", MOST_OFFSET),
                    pending.get("CODECS", ""),
                    int(size[1]) if size else 0,
                    int(size[2]) if size else 0,
                    pending.get("AUDIO", ""),
                )
            )
            pending = None
        if len(variants) + len(audio) > MOST_VARIANTS:
            raise LimitError("hls_playlist", f"the playlist names more than {MOST_VARIANTS} variants and renditions")
    if not variants:
        raise ProtocolError("the playlist names no variant")
    return Multivariant(tuple(variants), tuple(audio))


class _Media:
    """Reads the lines of a media playlist: what tags say of the segment that follows, or of all that follow."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._target_s: float | None = None
        self._sequence = 0
        self._kind = ""
        self._is_ended = self._can_block = False
        self._key: tuple[str, bytes | None] | None = None  # URI, and IV where one is given
        self._init: Init | None = None
        self._before: tuple[str, int] = ("", 0)  # URI and end of the last byte range
        self._next()

    def _next(self) -> None:
        """Forget what was said of one segment alone."""
        self._duration_s: float | None = None
        self._range: tuple[int, int | None] | None = None
        self._is_discontinuity = self._is_gap = False
        self._date = ""

    def read(self, lines: list[str]) -> MediaPlaylist:
        for line in lines:
            if line.startswith("#EXT"):
                tag, _, value = line.partition(":")
                self._tag(tag, value, line)
            elif not line.startswith("#"):
                self._segment(line)
        if self._target_s is None:
            raise ProtocolError("the playlist has no EXT-X-TARGETDURATION")
        if self._sequence + len(self._segments) > MOST_SEQUENCE:
            raise ProtocolError("EXT-X-MEDIA-SEQUENCE is out of range")
        return MediaPlaylist(
            self._target_s, self._sequence, tuple(self._segments), self._kind, self._is_ended, self._can_block
        )

    def _tag(self, tag: str, value: str, line: str) -> None:
        match tag:
            case "#EXTINF":
                self._duration_s = _seconds(value.partition(",")[0].strip(), "EXTINF")
            case "#EXT-X-TARGETDURATION":
                # 0 is what segments of less than half a second round to (§4.3.3.1), and ffmpeg writes it.
                self._target_s = _seconds(value.strip(), "EXT-X-TARGETDURATION") or SHORTEST_TARGET_S
            case "#EXT-X-MEDIA-SEQUENCE":
                if self._segments:
                    raise ProtocolError("EXT-X-MEDIA-SEQUENCE comes behind a segment")
                self._sequence = _integer(value.strip(), "EXT-X-MEDIA-SEQUENCE", MOST_SEQUENCE)
            case "#EXT-X-BYTERANGE":
                self._range = _range(value.strip(), "EXT-X-BYTERANGE")
            case "#EXT-X-KEY":
                self._key = _key(_attributes(line))
            case "#EXT-X-MAP":
                self._map(_attributes(line))
            case "#EXT-X-DISCONTINUITY":
                self._is_discontinuity = True
            case "#EXT-X-GAP":
                self._is_gap = True
            case "#EXT-X-PROGRAM-DATE-TIME":
                self._date = value[:64]
            case "#EXT-X-ENDLIST":
                self._is_ended = True
            case "#EXT-X-PLAYLIST-TYPE":
                self._kind = value if value in ("EVENT", "VOD") else ""
            case "#EXT-X-SERVER-CONTROL":
                self._can_block = _attributes(line).get("CAN-BLOCK-RELOAD") == "YES"
            case "#EXT-X-I-FRAMES-ONLY":
                raise ProtocolError("the playlist holds keyframes only")
            case "#EXT-X-SKIP":
                raise ProtocolError("the playlist leaves out segments, which it was not asked to")
            case "#EXT-X-STREAM-INF":
                raise ProtocolError("the playlist is both a list of variants and one of segments")

    def _map(self, found: Mapping[str, str]) -> None:
        if "URI" not in found:
            raise ProtocolError("EXT-X-MAP has no URI")
        byte_range = None
        if "BYTERANGE" in found:
            length, offset = _range(found["BYTERANGE"], "EXT-X-MAP")
            byte_range = ByteRange(offset or 0, length)
        key = None
        if self._key is not None:
            uri, iv = self._key
            if iv is None:
                raise ProtocolError("EXT-X-MAP is encrypted, and its key has no IV")
            key = Key(uri, iv)
        self._init = Init(_uri(found["URI"]), byte_range, key)

    def _segment(self, line: str) -> None:
        uri = _uri(line)
        if self._duration_s is None:
            raise ProtocolError("the playlist names a segment without EXTINF")
        number = self._sequence + len(self._segments)
        byte_range = None
        if self._range is not None:
            length, offset = self._range
            if offset is None:
                if self._before[0] != uri:
                    raise ProtocolError("EXT-X-BYTERANGE has no offset, and no range of the same URI is before it")
                offset = self._before[1]
            byte_range = ByteRange(offset, length)
            if offset + length > MOST_OFFSET:
                raise ProtocolError("EXT-X-BYTERANGE is out of range")
            self._before = (uri, offset + length)
        key = None
        if self._key is not None:
            key = Key(self._key[0], number.to_bytes(16, "big") if self._key[1] is None else self._key[1])
        self._segments.append(
            Segment(
                number,
                uri,
                self._duration_s,
                byte_range,
                key,
                self._init,
                self._is_discontinuity,
                self._is_gap,
                self._date,
            )
        )
        self._next()


def _key(found: Mapping[str, str]) -> tuple[str, bytes | None] | None:
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
    return _uri(found["URI"]), iv


def _attributes(line: str) -> Mapping[str, str]:
    """The attribute list (§4.2) behind a tag's colon, quotes removed."""
    return dict(_pairs(line, line.index(":") + 1 if ":" in line else len(line)))


def _pairs(line: str, at: int) -> Iterator[tuple[str, str]]:
    while at < len(line):
        found = _ATTRIBUTE.match(line, at)
        if found is None:
            raise ProtocolError(f"{line[1:].partition(':')[0][:40]} has attributes that cannot be read")
        yield found[1], found[2].strip('"').strip()
        at = found.end()


def _uri(text: str) -> str:
    """``text`` if it can be fetched: relative, or http(s)."""
    if not text or len(text) > URI_CHARACTERS:
        raise ProtocolError("the playlist names an empty or endless URI")
    if _UNFIT.search(text):
        raise ProtocolError("the playlist names a URI with characters that no URI has")
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() not in ("http", "https"):
        raise ProtocolError(f"the playlist names a {scheme[1][:20].lower()} URI; only http and https are fetched")
    return text


def _integer(text: str, what: str, most: int) -> int:
    if _INTEGER.fullmatch(text) is None or int(text) > most:
        raise ProtocolError(f"{what} is no number in range")
    return int(text)


def _seconds(text: str, what: str) -> float:
    if _DECIMAL.fullmatch(text) is None or float(text) > LONGEST_S:
        raise ProtocolError(f"{what} is no duration in seconds")
    return float(text)


def _range(text: str, what: str) -> tuple[int, int | None]:
    """(length, offset if given)."""
    found = _RANGE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ProtocolError(f"{what} has no byte range LENGTH@OFFSET")
    return int(found[1]), None if found[2] is None else int(found[2])
