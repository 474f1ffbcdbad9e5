"""What the relay makes, in its own process, of a publisher's packets: segments, transport streams, thumbnails."""

import contextlib
import struct

from relay.archive.packager import init_segment, media_segment
from relay.archive.thumbnails import jpeg
from relay.egress.hls_segments import Segmenter, TsMuxer
from relay.errors import MediaError, RelayError
from relay.hub.batch import Batch
from relay.media import TrackKind
from relay.media.timeline import Timeline
from relay.protocol import mp4
from tests.fuzz.media import messages, packets_of


def fuzz_package(data: bytes) -> None:
    """Messages as for ``fuzz_flv``: a part made of them becomes a segment, or is kept as it came."""
    packets = packets_of(Timeline(), messages(data))
    if not packets:
        return
    try:
        init = init_segment(packets)
        ends = {TrackKind.VIDEO: packets[-1].dts_ms + 40}
        segment = media_segment(1, packets, init, base_ms=packets[0].dts_ms, ends_ms=ends)
    except (RelayError, ValueError, LookupError, struct.error):
        return  # what archive/recording.py keeps as FLV
    assert sum(len(sample.payload) for sample in mp4.read_fragments(segment)) == sum(
        len(packet.data) for packet in packets
    )


def fuzz_transport(data: bytes) -> None:
    """Messages as for ``fuzz_flv``: pieces of them become MPEG-TS, or are refused in words."""
    packets = packets_of(Timeline(), messages(data))
    if not packets:
        return
    segmenter, muxer = Segmenter(), TsMuxer()
    with contextlib.suppress(MediaError):
        pieces = segmenter.feed(Batch(tuple(packets), (None, None), len(packets)))
        rest = segmenter.flush()
        for piece in [*pieces, *([rest] if rest is not None else [])]:
            made = muxer.mux(piece)
            assert len(made) % 188 == 0
            assert set(made[::188]) == {0x47}


def fuzz_picture(data: bytes) -> None:
    """Messages as for ``fuzz_flv``: each keyframe becomes a picture, or is said to hold none."""
    for packet in packets_of(Timeline(), messages(data)):
        with contextlib.suppress(MediaError):
            assert jpeg(packet)[:2] == b"\xff\xd8"
