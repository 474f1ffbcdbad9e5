"""What an MPEG-TS segment holds: the form of its bytes, and its frames, to be compared with what was published."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import av

from relay.media import Codec, Packet

AUD, SPS, PPS = 9, 7, 8
_HEVC_EXTRA = frozenset({32, 33, 34, 35, 39})  # parameter sets, delimiters, and the SEI that headers hold


class Frame(NamedTuple):
    """One frame: track, times in 90 kHz ticks, and its payload's SHA-256 without what the container adds."""

    track: str
    dts: int
    pts: int
    digest: str


class Segment(NamedTuple):
    """``pids`` of its packets in order; ``streams`` by type; ``broken``: rules it breaks."""

    frames: tuple[Frame, ...]
    streams: dict[str, int]
    duration_s: float
    broken: tuple[str, ...]

    def of(self, track: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.track == track]


def read_segment(data: bytes) -> Segment:
    """A segment's frames, and the rules of RFC 8216 §3.2 and of platforms that it breaks."""
    broken = list(_form(data))
    frames: list[Frame] = []
    streams: dict[str, int] = {}
    first_is_key: bool | None = None
    with av.open(io.BytesIO(data), "r", format="mpegts") as container:
        for stream in container.streams:
            streams[stream.type] = streams.get(stream.type, 0) + 1
        for packet in container.demux():
            if packet.dts is None or packet.pts is None:
                continue
            kind, codec = packet.stream.type, packet.stream.codec_context.name
            if kind == "video" and first_is_key is None:
                first_is_key = packet.is_keyframe
            frames.append(Frame(kind, packet.dts, packet.pts, _digest(_units(bytes(packet), codec))))
    if streams.get("audio", 0) > 1 or streams.get("video", 0) > 1:
        broken.append(f"tracks: {streams}")
    if first_is_key is False:
        broken.append("does not begin with a keyframe")
    main = [frame.dts for frame in frames if frame.track == ("video" if "video" in streams else "audio")]
    length = main[-1] - main[0] + (main[-1] - main[0]) / max(1, len(main) - 1) if main else 0
    for track in streams:
        times = [frame.dts for frame in frames if frame.track == track]
        if any(later <= earlier for earlier, later in pairwise(times)):
            broken.append(f"{track} DTS do not grow")
    return Segment(tuple(frames), streams, length / 90_000, tuple(broken))


def published(packets: Iterable[Packet], *, start_ms: int = 10_000) -> list[Frame]:
    """The same list of packets, with the constant by which the relay moves times in TS."""
    frames = []
    for packet in packets:
        data, codec = packet.data, packet.track.codec
        units = [data] if codec is Codec.AAC else _without_extra(_length_prefixed(data), codec)
        pts_ms = max(packet.pts_ms, packet.dts_ms)
        times = [(ms + start_ms) * 90 for ms in (packet.dts_ms, pts_ms)]
        frames.append(Frame("video" if packet.is_video else "audio", *times, _digest(units)))
    return frames


def _form(data: bytes) -> Iterable[str]:
    if len(data) % 188 or not data:
        yield f"{len(data)} bytes are no whole packets"
    starts = range(0, len(data) - 187, 188)
    if any(data[at] != 0x47 for at in starts):
        yield "a packet without its sync byte"
    pids = [(data[at + 1] & 0x1F) << 8 | data[at + 2] for at in starts][:2]
    if pids[:1] != [0] or len(pids) < 2:
        yield "does not begin with a PAT"
        return
    table = 5 + (1 + data[4] if data[3] & 0x20 else 0)  # behind adaptation field and pointer
    if pids[1] != (data[table + 10] & 0x1F) << 8 | data[table + 11]:  # program_map_PID of the first programme
        yield "the PMT does not follow the PAT"


def _units(data: bytes, codec: str) -> list[bytes]:
    if codec == "aac":
        return [data[7 if data[1] & 1 else 9 :]] if data[:1] == b"\xff" and data[1] & 0xF0 == 0xF0 else [data]
    units, at = [], 0
    padded = data + b"\0\0\1"
    while (start := padded.find(b"\0\0\1", at)) >= 0 and start + 3 < len(padded):
        end = padded.find(b"\0\0\1", start + 3)
        units.append(padded[start + 3 : end].rstrip(b"\0"))
        at = end
    return _without_extra(units, Codec.HEVC if codec == "hevc" else Codec.H264)


def _length_prefixed(data: bytes) -> list[bytes]:
    units, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        units.append(data[at + 4 : end].rstrip(b"\0"))
        at = end
    return units


def _without_extra(units: Sequence[bytes], codec: Codec) -> list[bytes]:
    """Without what a muxer adds: parameter sets and access unit delimiters."""
    if codec is Codec.HEVC:
        return [unit for unit in units if unit and unit[0] >> 1 & 0x3F not in _HEVC_EXTRA]
    return [unit for unit in units if unit and unit[0] & 0x1F not in (AUD, SPS, PPS)]


def _digest(units: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0\0\1".join(units)).hexdigest()[:16]
