"""Epochs, segments and parts: their bytes are CMAF with every packet at its time, made once."""

import asyncio

import pytest

from relay.archive.packager import tracks_of
from relay.errors import MediaError
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol import mp4
from relay.web.hls.cut import Epoch, Part, Rendition, Segment, codecs
from tests.archive.media import read_packets
from tests.support.clips import H264_B, make


async def clip() -> list[Packet]:
    return (await asyncio.to_thread(lambda: read_packets(make(H264_B))))[:300]


async def test_a_segment_is_its_parts_and_they_hold_each_packet_at_its_time() -> None:
    packets = await clip()
    epoch = Epoch(1, tracks_of(packets), packets[0].dts_ms - 1000, 0.0, None)
    for packet in packets:
        epoch.sample(packet)
    segment = Segment(7, epoch, packets[0].dts_ms)
    step = len(packets) // 5
    for number in range(5):
        own = packets[number * step : (number + 1) * step]
        segment.add(own, own[0].dts_ms, own[-1].dts_ms + 33)
    init = await epoch.init(Rendition.MAIN)
    whole = segment.data(Rendition.MAIN)
    assert whole == b"".join(part.data(Rendition.MAIN, 7, epoch) for part in segment.parts)
    found = mp4.read_fragments(whole)
    for kind, scale in init.scales.items():
        own = [packet for packet in packets[: 5 * step] if packet.is_video == (kind is TrackKind.VIDEO)]
        samples = [sample for sample in found if sample.track_id == scale.track_id]
        assert [sample.payload for sample in samples] == [packet.data for packet in own]
        for sample, packet in zip(samples, own, strict=True):
            assert sample.dts * 1000 / scale.timescale == pytest.approx(packet.dts_ms - epoch.base_ms, abs=0.5)
            shown = (sample.dts + sample.cts_offset) * 1000 / scale.timescale
            assert shown == pytest.approx(packet.pts_ms - epoch.base_ms, abs=0.5)
    sound = await epoch.init(Rendition.AUDIO)
    assert set(sound.scales) == {TrackKind.AUDIO}
    heard = mp4.read_fragments(segment.data(Rendition.AUDIO))
    assert [item.payload for item in heard] == [item.data for item in packets[: 5 * step] if not item.is_video]


async def test_an_init_segment_is_made_once_and_no_track_joins_after_it() -> None:
    packets = await clip()
    epoch = Epoch(1, tracks_of(packets), 0, 0.0, None)
    for packet in packets:
        epoch.sample(packet)
    assert not epoch.is_settled
    first, second = await asyncio.gather(epoch.init(Rendition.MAIN), epoch.init(Rendition.MAIN))
    assert first is second
    assert epoch.is_settled


async def test_what_mp4_cannot_hold_is_said_each_time() -> None:
    track = Track(codec=Codec.VP8, codec_string="vp08.00.10.08")
    epoch = Epoch(1, (track, None), 0, 0.0, None)
    epoch.sample(Packet(track, 0, 0, True, b"x"))
    for _ in range(2):
        with pytest.raises(MediaError, match="vp8"):
            await epoch.init(Rendition.MAIN)


def test_a_part_of_the_picture_alone_has_nothing_for_those_who_listen() -> None:
    track = Track(codec=Codec.H264)
    part = Part(0, [Packet(track, 0, 0, False, b"x"), Packet(track, 33, 33, True, b"y")], 0, 66)
    assert (part.has(Rendition.MAIN), part.has(Rendition.AUDIO), part.is_independent) == (True, False, True)
    assert codecs((track, None)) == "h264"
