"""Playlists of recordings (RFC 8216): what makes the bucket playable by itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from relay.database import GapRow, SegmentRow
from relay.errors import EvidenceError, ProtocolError
from relay.protocol import m3u8

CONTENT_TYPE = "application/vnd.apple.mpegurl"
PLAYLIST_NAME = "index.m3u8"
GAP_NAME = "gap.mp4"
GAP_DATA = b"\0\0\0\x08free"  # what a player gets that loads missing media all the same: a box without content
LARGEST_BYTES = 64 * 1024 * 1024  # of days on end


def media_playlist(segments: Sequence[SegmentRow], gaps: Sequence[GapRow] = (), *, complete: bool) -> str:
    """An HLS media playlist naming segments relative to itself, dated, with every discontinuity and gap marked.

    A recording still going on is an EVENT playlist; a complete one is VOD and ends. What could only be kept as FLV
    has no init segment and is left out. A gap counts with its length, in entries that say there is no media
    (EXT-X-GAP, draft-pantos-hls-rfc8216bis §4.4.4.7), none longer than a segment may be.
    """
    numbers = [segment.seq for segment in segments]
    after_flv = {number for segment, number in zip(segments, numbers[1:], strict=False) if not segment.init_key}
    segments = [segment for segment in segments if segment.init_key]
    longest = max((segment.duration_s for segment in segments), default=1.0)
    target_s = max(1, math.floor(longest + 0.5))
    missing = sorted(gaps, key=lambda gap: gap.start_ms)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target_s}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-PLAYLIST-TYPE:{'VOD' if complete else 'EVENT'}",
    ]
    if all(segment.starts_with_keyframe for segment in segments):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    init = ""
    for segment in segments:
        while missing and missing[0].start_ms < segment.start_ms:
            gap = missing.pop(0)
            if segment is not segments[0]:
                lines += _gap_lines(gap, target_s)
        if (segment.discontinuity or segment.seq in after_flv) and segment is not segments[0]:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.init_key != init:
            init = segment.init_key
            lines.append(f'#EXT-X-MAP:URI="{file_name(init)}"')
        date = datetime.fromtimestamp(segment.started_at, UTC).isoformat(timespec="milliseconds")
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date.replace('+00:00', 'Z')}")
        lines.append(f"#EXTINF:{segment.duration_s:.3f},")
        lines.append(file_name(segment.object_key))
    if complete:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _gap_lines(gap: GapRow, target_s: int) -> list[str]:
    length_s = gap.length_ms / 1000
    pieces = max(1, math.ceil(length_s / target_s))
    return ["#EXT-X-GAP", f"#EXTINF:{length_s / pieces:.3f},", GAP_NAME] * pieces


def file_name(object_key: str) -> str:
    """The last part of an object key: what a playlist beside it calls it."""
    return object_key.rpartition("/")[2]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """One segment as a playlist names it. ``started_at``: unix seconds, None where it has no date."""

    name: str
    init: str
    duration_s: float
    started_at: float | None
    discontinuity: bool


@dataclass(slots=True)
class MediaPlaylist:
    """A playlist read back; ``ends``: nothing will follow."""

    segments: list[Listed] = field(default_factory=list)
    ends: bool = False


def read_playlist(data: bytes) -> MediaPlaylist:
    """Read the segments of what ``media_playlist`` wrote. Raises EvidenceError of kind ``playlist``."""
    found = MediaPlaylist()
    try:
        read = m3u8.parse(data, LARGEST_BYTES)
        if not isinstance(read, m3u8.MediaPlaylist):
            raise ProtocolError("the playlist names other playlists")
        found.ends = read.is_ended
        for item in read.segments:
            if not item.is_gap:
                date = datetime.fromisoformat(item.date).timestamp() if item.date else None
                init = "" if item.init is None else item.init.uri
                found.segments.append(Listed(item.uri, init, item.duration_s, date, item.is_discontinuity))
    except (ProtocolError, ValueError, OverflowError) as error:
        raise EvidenceError(f"it is no playlist that can be read: {error}", "playlist") from error
    return found
