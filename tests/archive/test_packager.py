"""Init and media segments of every codec, as ffprobe and our own reader see them."""

import asyncio
from pathlib import Path

import pytest

from relay.archive.packager import init_segment, media_segment, tracks_of
from relay.errors import MediaError
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol.mp4 import read_fragments, read_init
from tests.archive.media import read_packets
from tests.support import clips
from tests.support.clips import Clip
from tests.support.probe import probe

_VIDEO = ("libx264", "-preset", "ultrafast", "-g", "30")
CODECS = {
    Codec.H264: Clip("unit-h264", _VIDEO, clips.H264.audio, 1),
    Codec.HEVC: Clip("unit-hevc", ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"), (), 1),
    Codec.AV1: Clip("unit-av1", ("libsvtav1", "-preset", "12"), (), 1),
    Codec.VP9: Clip("unit-vp9", ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), (), 1),
    Codec.AAC: Clip("unit-aac", (), clips.H264.audio, 1),
    Codec.MP3: Clip("unit-mp3", (), ("libmp3lame", "-ar", "44100"), 1),
    Codec.OPUS: Clip("unit-opus", (), ("libopus", "-ar", "48000"), 1),
    Codec.AC3: Clip("unit-ac3", (), ("ac3", "-ar", "48000"), 1),
    Codec.EAC3: Clip("unit-eac3", (), ("eac3", "-ar", "48000"), 1),
    Codec.FLAC: Clip("unit-flac", (), ("flac", "-ar", "48000"), 1),
}


@pytest.mark.parametrize("codec", CODECS)
async def test_each_codec_makes_a_clean_segment(codec: Codec, tmp_path: Path) -> None:
    packets = read_packets(await asyncio.to_thread(clips.make, CODECS[codec]))
    assert codec in {packet.track.codec for packet in packets}
    init = init_segment(packets)
    data = media_segment(1, packets, init, base_ms=packets[0].dts_ms, ends_ms={})
    path = tmp_path / "segment.mp4"
    path.write_bytes(init.data + data)
    tracks = await probe(path)
    for kind in TrackKind:
        sent = [packet.data for packet in packets if packet.track.kind is kind]
        if sent:
            assert len(tracks[kind].dts) == len(sent)
            assert [
                sample.payload for sample in read_fragments(data) if sample.track_id == init.scales[kind].track_id
            ] == sent


async def test_an_init_segment_is_ftyp_and_moov_and_the_same_each_time() -> None:
    packets = read_packets(await asyncio.to_thread(clips.make, CODECS[Codec.H264]))
    one, other = init_segment(packets), init_segment(packets)
    assert one.data == other.data
    assert one.data[4:8] == b"ftyp"
    assert set(read_init(one.data)) == {TrackKind.VIDEO, TrackKind.AUDIO}


def test_an_init_segment_covers_what_lacks_a_track_and_not_what_changes_one() -> None:
    packets = read_packets(clips.make(CODECS[Codec.H264]))
    init = init_segment(packets)
    video, audio = tracks_of(packets)
    assert init.covers((video, audio))
    assert init.covers((None, audio))
    assert not init.covers((Track(codec=Codec.H264, header=b"other"), audio))


def test_a_codec_mp4_cannot_hold_is_named() -> None:
    track = Track(codec=Codec.H264, header=b"\x01broken")
    with pytest.raises(MediaError, match="h264"):
        init_segment([Packet(track, 0, 0, True, b"\0\0\0\x01\x65")])
