"""Track and Packet: kinds follow codecs, values do not change."""

import dataclasses

import pytest

from relay.media import Codec, Packet, Track, TrackKind


@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_has_one_kind_and_packets_agree(codec: Codec) -> None:
    track = Track(codec=codec)
    packet = Packet(track, 0, 0, True, b"x")
    assert track.kind is codec.kind
    assert packet.is_video == (track.kind is TrackKind.VIDEO)


def test_kinds_by_name() -> None:
    video = {codec for codec in Codec if codec.kind is TrackKind.VIDEO}
    assert video == {Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9, Codec.VP8}


def test_values_are_frozen() -> None:
    track = Track(codec=Codec.AAC, header=b"\x12\x10")
    with pytest.raises(dataclasses.FrozenInstanceError):
        track.width = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Packet(track, 0, 0, True, b"").dts_ms = 1  # type: ignore[misc]
