"""HLS playlists of strangers (RFC 8216, and of its second edition what a puller needs) as small frozen values.

The m3u8 package reads every playlist, but takes NaN, negative and endless durations as they come, raises whatever its
conversions raise, and needs a time that grows with the square of the number of keys: it is left to the tests, which
compare.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from relay.errors import LimitError, ProtocolError
from relay.protocol.m3u8_lines import (
    MOST_OFFSET,
    ByteRange,
    attributes,
    integer,
    key_of,
    length_and_offset,
    placed,
    seconds,
    uri_of,
)

MOST_BYTES = 256 * 1024
LINE_CHARACTERS = 8192
MOST_VARIANTS = 200
SHORTEST_TARGET_S = 1.0
MOST_SEQUENCE = 1 << 62
HOLD_BACK_PARTS = 3  # 8216bis §4.4.3.8

_RESOLUTION = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


class Key(NamedTuple):
    """AES-128 in CBC mode (§4.3.2.4). ``iv``: 16 bytes."""

    uri: str
    iv: bytes


class Init(NamedTuple):
    """Where a segment's init segment is (EXT-X-MAP); ``key``: what it is encrypted with."""

    uri: str
    byte_range: ByteRange | None
    key: Key | None


class Part(NamedTuple):
    """Part of a segment, there before the whole is (8216bis §4.4.4.9)."""

    uri: str
    duration_s: float
    byte_range: ByteRange | None = None
    is_independent: bool = False
    is_gap: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """One media segment. ``sequence`` is its media sequence number; URIs are as written (``resolve``).

    ``parts``: those of it that are listed; a segment that is yet to be whole has no URI, and is as long as they are.
    """

    sequence: int
    uri: str
    duration_s: float
    byte_range: ByteRange | None = None
    key: Key | None = None
    init: Init | None = None
    is_discontinuity: bool = False
    is_gap: bool = False
    date: str = ""  # EXT-X-PROGRAM-DATE-TIME as written
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """``target_s`` and the segments there are now. ``kind``: EVENT, VOD or empty. ``can_block``: 8216bis §6.2.5.2.

    ``part_target_s``: 0 where there are no parts; ``hold_back_s``: how far from the end to begin with them.
    ``coming``: the segment that only parts are there of, if there are any.
    """

    target_s: float
    sequence: int
    segments: tuple[Segment, ...]
    kind: str = ""
    is_ended: bool = False
    can_block: bool = False
    part_target_s: float = 0.0
    hold_back_s: float = 0.0
    coming: Segment | None = None

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
        url = urljoin(base, uri_of(uri))
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
            pending = attributes(line)
        elif line.startswith("#EXT-X-MEDIA:"):
            found = attributes(line)
            if found.get("TYPE") == "AUDIO":
                uri = uri_of(found["URI"]) if "URI" in found else ""
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
                    uri_of(line),
                    integer(pending.get("BANDWIDTH", "0"), "BANDWIDTH", MOST_OFFSET),
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
        self._part_target_s = self._hold_back_s = 0.0
        self._key: tuple[str, bytes | None] | None = None  # URI, and IV where one is given
        self._init: Init | None = None
        self._before: tuple[str, int] = ("", 0)  # URI and end of the last byte range
        self._before_part: tuple[str, int] = ("", 0)
        self._next()

    def _next(self) -> None:
        """Forget what was said of one segment alone."""
        self._duration_s: float | None = None
        self._range: tuple[int, int | None] | None = None
        self._is_discontinuity = self._is_gap = False
        self._date = ""
        self._parts: list[Part] = []

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
        coming = self._made("", sum(part.duration_s for part in self._parts), None) if self._parts else None
        return MediaPlaylist(
            self._target_s,
            self._sequence,
            tuple(self._segments),
            self._kind,
            self._is_ended,
            self._can_block,
            self._part_target_s,
            max(self._hold_back_s, HOLD_BACK_PARTS * self._part_target_s),
            coming,
        )

    def _tag(self, tag: str, value: str, line: str) -> None:
        match tag:
            case "#EXTINF":
                self._duration_s = seconds(value.partition(",")[0].strip(), "EXTINF")
            case "#EXT-X-TARGETDURATION":
                # 0 is what segments of less than half a second round to (§4.3.3.1), and ffmpeg writes it.
                self._target_s = seconds(value.strip(), "EXT-X-TARGETDURATION") or SHORTEST_TARGET_S
            case "#EXT-X-MEDIA-SEQUENCE":
                if self._segments:
                    raise ProtocolError("EXT-X-MEDIA-SEQUENCE comes behind a segment")
                self._sequence = integer(value.strip(), "EXT-X-MEDIA-SEQUENCE", MOST_SEQUENCE)
            case "#EXT-X-BYTERANGE":
                self._range = length_and_offset(value.strip(), "EXT-X-BYTERANGE")
            case "#EXT-X-KEY":
                self._key = key_of(attributes(line))
            case "#EXT-X-MAP":
                self._map(attributes(line))
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
                found = attributes(line)
                self._can_block = found.get("CAN-BLOCK-RELOAD") == "YES"
                self._hold_back_s = seconds(found.get("PART-HOLD-BACK", "0"), "PART-HOLD-BACK")
            case "#EXT-X-PART-INF":
                self._part_target_s = seconds(attributes(line).get("PART-TARGET", ""), "PART-TARGET")
            case "#EXT-X-PART":
                self._part(attributes(line))
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
            length, offset = length_and_offset(found["BYTERANGE"], "EXT-X-MAP")
            byte_range = ByteRange(offset or 0, length)
        key = None
        if self._key is not None:
            uri, iv = self._key
            if iv is None:
                raise ProtocolError("EXT-X-MAP is encrypted, and its key has no IV")
            key = Key(uri, iv)
        self._init = Init(uri_of(found["URI"]), byte_range, key)

    def _part(self, found: Mapping[str, str]) -> None:
        if "URI" not in found:
            raise ProtocolError("EXT-X-PART has no URI")
        uri = uri_of(found["URI"])
        byte_range = None
        if "BYTERANGE" in found:
            byte_range = placed(uri, length_and_offset(found["BYTERANGE"], "EXT-X-PART"), self._before_part)
            self._before_part = (uri, byte_range.offset + byte_range.length)
        self._parts.append(
            Part(
                uri,
                seconds(found.get("DURATION", ""), "EXT-X-PART"),
                byte_range,
                found.get("INDEPENDENT") == "YES",
                found.get("GAP") == "YES",
            )
        )

    def _segment(self, line: str) -> None:
        uri = uri_of(line)
        if self._duration_s is None:
            raise ProtocolError("the playlist names a segment without EXTINF")
        byte_range = None
        if self._range is not None:
            byte_range = placed(uri, self._range, self._before)
            self._before = (uri, byte_range.offset + byte_range.length)
        self._segments.append(self._made(uri, self._duration_s, byte_range))
        self._next()

    def _made(self, uri: str, duration_s: float, byte_range: ByteRange | None) -> Segment:
        """The next segment, with what was said of it."""
        number = self._sequence + len(self._segments)
        key = None
        if self._key is not None:
            key = Key(self._key[0], number.to_bytes(16, "big") if self._key[1] is None else self._key[1])
        return Segment(
            number,
            uri,
            duration_s,
            byte_range,
            key,
            self._init,
            self._is_discontinuity,
            self._is_gap,
            self._date,
            tuple(self._parts),
        )
