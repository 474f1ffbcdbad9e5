"""Playlists of recordings (RFC 8216): what makes the bucket playable by itself."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from relay.database import SegmentRow

CONTENT_TYPE = "application/vnd.apple.mpegurl"


def media_playlist(segments: Sequence[SegmentRow], *, complete: bool) -> str:
    """An HLS media playlist naming segments relative to itself, dated, with every discontinuity marked.

    A recording still going on is an EVENT playlist; a complete one is VOD and ends. What could only be kept as FLV
    has no init segment and is left out.
    """
    flv_only = {segment.seq for segment in segments if not segment.init_key}
    segments = [segment for segment in segments if segment.init_key]
    longest = max((segment.duration_s for segment in segments), default=1.0)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(1, math.floor(longest + 0.5))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-PLAYLIST-TYPE:{'VOD' if complete else 'EVENT'}",
    ]
    if all(segment.starts_with_keyframe for segment in segments):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    init = ""
    for segment in segments:
        if (segment.discontinuity or segment.seq - 1 in flv_only) and segment is not segments[0]:
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


def file_name(object_key: str) -> str:
    """The last part of an object key: what a playlist beside it calls it."""
    return object_key.rpartition("/")[2]
