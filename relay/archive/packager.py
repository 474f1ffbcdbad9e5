"""Packager: makes CMAF out of packets, for the archive and for playback alike. Never re-encodes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from relay.errors import MediaError, ProtocolError
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol import flv, mp4
from relay.protocol.mp4 import TrackScale

# LIBRARIES: with these the muxer neither shifts nor rounds times, and writes no edit list.
_OPTIONS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer+frag_discont",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
}
# The muxer writes these codecs' configuration from the first frames it is given, not from a header.
_READ_FROM_FRAMES = frozenset({Codec.AC3, Codec.EAC3})
_FRAMES = 12


@dataclass(frozen=True, slots=True)
class InitSegment:
    """An init segment, the tracks it describes (video, audio), and their numbers and timescales."""

    data: bytes
    tracks: tuple[Track | None, Track | None]
    scales: dict[TrackKind, TrackScale]

    def covers(self, tracks: tuple[Track | None, Track | None]) -> bool:
        """Whether packets of ``tracks`` (None: none of that kind) can follow this init segment."""
        return all(track is None or track == own for track, own in zip(tracks, self.tracks, strict=True))


def tracks_of(packets: Sequence[Packet]) -> tuple[Track | None, Track | None]:
    """The first video and the first audio track among ``packets``."""
    video = next((packet.track for packet in packets if packet.is_video), None)
    audio = next((packet.track for packet in packets if not packet.is_video), None)
    return video, audio


def init_segment(packets: Sequence[Packet]) -> InitSegment:
    """An init segment for the tracks of ``packets``, made by FFmpeg's muxer from their headers and first frames.

    Blocks for some milliseconds. Raises MediaError naming the codec that MP4 cannot hold.
    """
    import av  # 25 MiB, which a relay that waits for its first stream can do without

    video, audio = tracks_of(packets)
    first = [
        next((packet for packet in packets if packet.is_video == wanted and packet.is_keyframe), None)
        or next((packet for packet in packets if packet.is_video == wanted), None)
        for wanted in (True, False)
    ]
    sample = [packet._replace(dts_ms=0, pts_ms=0) for packet in first if packet is not None]
    late = audio is not None and audio.codec in _READ_FROM_FRAMES
    if late:
        frames = [packet for packet in packets if packet.track is audio][1:_FRAMES]
        sample += [packet._replace(dts_ms=32 * number, pts_ms=32 * number) for number, packet in enumerate(frames, 1)]
    source = b"".join(
        (
            flv.file_header(has_video=video is not None, has_audio=audio is not None),
            flv.tag(flv.SCRIPT, 0, flv.metadata((video, audio), {})),
            flv.encode_batch(sample, (None, None)),
        )
    )
    names = " and ".join(track.codec for track in (video, audio) if track is not None)
    try:
        data = _mux(source, late=late)
        scales = mp4.read_init(data)
    except (av.FFmpegError, ProtocolError, ValueError) as error:
        raise MediaError(f"{names} cannot be packaged as MP4: {error}") from error
    if set(scales) != {track.kind for track in (video, audio) if track is not None}:
        raise MediaError(f"{names}: the init segment lacks a track")
    return InitSegment(data, (video, audio), scales)


def _mux(source: bytes, *, late: bool) -> bytes:
    """``ftyp`` and ``moov`` for the streams of a tiny FLV file; ``late``: made when the frames are known."""
    import av

    out = io.BytesIO()
    options = {**_OPTIONS, "movflags": _OPTIONS["movflags"] + "+delay_moov"} if late else _OPTIONS
    with (
        av.open(io.BytesIO(source), "r", format="flv") as demuxer,
        av.open(out, "w", format="mp4", options=options) as muxer,
    ):
        copies = {stream.index: muxer.add_stream_from_template(stream, opaque=True) for stream in demuxer.streams}
        for packet in demuxer.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                muxer.mux(packet)
    data = out.getvalue()
    kept = [data[start - 8 : end] for kind, start, end in mp4.boxes(data) if kind in (b"ftyp", b"moov")]
    # Parameter sets are in the header and nowhere else, which is what hvc1 says (ISO/IEC 14496-15) and Apple demands.
    return b"".join(kept).replace(b"hev1", b"hvc1", 1)


def media_segment(
    sequence: int, packets: Sequence[Packet], init: InitSegment, *, base_ms: int, ends_ms: dict[TrackKind, int]
) -> bytes:
    """One CMAF media segment: ``moof`` and ``mdat`` with media time counted from stream DTS ``base_ms``."""
    return mp4.fragment(sequence, packets, init.scales, base_ms=base_ms, ends_ms=ends_ms)
