"""A recording as it lies in a store: its playlist, segments and the list of packets they hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import m3u8

from relay.protocol.mp4 import read_fragments, read_init
from tests.support.listing import Item, Listing, digest

GAP = "gap.mp4"
Load = Callable[[str], bytes]
"""Name of an object beside the playlist → its bytes."""


@dataclass
class Part:
    """One media segment of a playlist; ``duration_s`` is what EXTINF says."""

    name: str
    duration_s: float
    init_name: str
    init: bytes
    data: bytes
    discontinuity: bool


@dataclass
class Recording:
    playlist: str
    parts: list[Part] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    """The lengths of the entries that stand for missing media."""

    @property
    def duration_s(self) -> float:
        return sum(part.duration_s for part in self.parts)

    def listing(self) -> Listing:
        """Every packet of every segment, in playlist order, on the recording's timeline in ms."""
        listing = Listing()
        for part in self.parts:
            tracks = {scale.track_id: (kind, scale.timescale) for kind, scale in read_init(part.init).items()}
            for track_id, dts, cts, is_sync, payload in read_fragments(part.data):
                kind, timescale = tracks[track_id]
                item = Item(
                    kind, round(dts * 1000 / timescale), round(cts * 1000 / timescale), is_sync, digest(payload)
                )
                listing.items.append(item)
        return listing

    def whole(self) -> bytes:
        """All segments in one file, each run of them behind its init segment."""
        content = bytearray()
        before = ""
        for part in self.parts:
            if part.init_name != before:
                content += part.init
                before = part.init_name
            content += part.data
        return bytes(content)


def read_recording(load: Load) -> Recording:
    """Read ``index.m3u8`` and everything it names."""
    text = load("index.m3u8").decode()
    assert text.startswith("#EXTM3U"), f"not a playlist: {text[:200]}"
    playlist = m3u8.loads(text)
    recording = Recording(text)
    inits: dict[str, bytes] = {}
    for segment in playlist.segments:
        if segment.uri == GAP:
            assert segment.gap_tag, "an entry without media says so"
            recording.gaps_s.append(segment.duration)
            continue
        init_name = segment.init_section.uri
        if init_name not in inits:
            inits[init_name] = load(init_name)
        recording.parts.append(
            Part(segment.uri, segment.duration, init_name, inits[init_name], load(segment.uri), segment.discontinuity)
        )
    return recording


def read_folder(folder: Path) -> Recording:
    """A recording in a directory store."""
    return read_recording(lambda name: (folder / name).read_bytes())
