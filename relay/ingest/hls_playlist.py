"""What a publisher's playlist tells of its segments: their init segments, breaks, gaps, and the end. Never trusted."""

import posixpath
from dataclasses import dataclass, field

from relay.errors import ProtocolError
from relay.ingest.segment import split_name
from relay.protocol.m3u8 import MediaPlaylist, parse

_LISTED_MOST = 4000


@dataclass(frozen=True, slots=True)
class Playlist:
    """Names are as uploaded, from the same root as the playlist's own.

    ``inits``: segment name to the name of its init segment. ``breaks``: segments behind a discontinuity. ``gaps``:
    segments that do not exist. ``last``: the name of the last one listed. ``counts``: whether the names' numbers go on
    from one to the next.
    """

    inits: dict[str, str] = field(default_factory=dict)
    breaks: frozenset[str] = frozenset()
    gaps: tuple[str, ...] = ()
    last: str = ""
    is_ended: bool = False
    counts: bool = True


def read_playlist(name: str, text: str) -> Playlist:
    """The media playlist ``text`` that was uploaded as ``name``; nothing at all where it cannot be read."""
    try:
        found = parse(text.encode())
    except ProtocolError:
        return Playlist()  # a hint that cannot be read is no hint; its segments are taken all the same
    if not isinstance(found, MediaPlaylist):
        return Playlist()
    folder = posixpath.dirname(name)
    segments = found.segments[-_LISTED_MOST:]
    names = [_uploaded(folder, segment.uri) for segment in segments]
    listed = list(zip(names, segments, strict=True))
    tracks = {split_name(own)[0] for own in names}
    return Playlist(
        inits={own: _uploaded(folder, segment.init.uri) for own, segment in listed if segment.init is not None},
        breaks=frozenset(own for own, segment in listed if segment.is_discontinuity),
        gaps=tuple(own for own, segment in listed if segment.is_gap),
        last=names[-1] if names else "",
        is_ended=found.is_ended,
        counts=len(tracks) <= 1,
    )


def _uploaded(folder: str, uri: str) -> str:
    """``uri`` of a playlist in ``folder`` as the name it is uploaded under; its query is no part of it."""
    path = uri.partition("?")[0]
    if "://" in path:
        path = path.partition("://")[2].partition("/")[2]
        marker = "/ingest/hls/"
        whole = f"/{path}"
        if whole.startswith(marker):
            return whole.removeprefix(marker).partition("/")[2]
        return path.rpartition("/")[2]
    return posixpath.normpath(posixpath.join(folder, path)) if path else ""
