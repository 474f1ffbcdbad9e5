"""Tiny packets for hub tests."""

from relay.media import Codec, Packet, Track

VIDEO = Track(codec=Codec.H264, header=b"v")
AUDIO = Track(codec=Codec.AAC, header=b"a")


def video(dts_ms: int, key: bool = False, track: Track = VIDEO, size: int = 1) -> Packet:
    return Packet(track, dts_ms, dts_ms, key, b"v" * size)


def audio(dts_ms: int, track: Track = AUDIO) -> Packet:
    return Packet(track, dts_ms, dts_ms, True, b"a")
