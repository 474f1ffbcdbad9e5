"""Audio sequence headers: a table of each form, and the ends of their data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol import audio_headers

AAC = [
    ("LC, 48 kHz, stereo", "1190", 48000, 2, "mp4a.40.2"),
    ("LC, 44.1 kHz, mono", "1208", 44100, 1, "mp4a.40.2"),
    ("LC, 5.1", "11b0", 48000, 6, "mp4a.40.2"),
    ("LC, rate of its own in 24 bits", "17805dc010", 48000, 2, "mp4a.40.2"),
    ("SBR, explicit", "2b0a8800", 32000, 1, "mp4a.40.5"),
    ("SBR, announced behind, as ffmpeg and phones do it", "131056e598", 48000, 2, "mp4a.40.2"),
]


@pytest.mark.parametrize(("name", "header", "rate", "channels", "text"), AAC, ids=[row[0] for row in AAC])
def test_aac(name: str, header: str, rate: int, channels: int, text: str) -> None:
    track = audio_headers.aac(bytes.fromhex(header))
    assert (track.sample_rate, track.channels, track.codec_string) == (rate, channels, text)
    assert track.header == bytes.fromhex(header)


def test_a_reserved_rate_and_a_header_cut_short_are_errors() -> None:
    with pytest.raises(ProtocolError, match="reserved"):
        audio_headers.aac(bytes.fromhex("1690"))
    with pytest.raises(ProtocolError, match="cut short"):
        audio_headers.aac(b"\x11")


def test_opus_with_and_without_its_magic() -> None:
    body = bytes.fromhex("0102380180bb0000000000")
    for header in (b"OpusHead" + body, body):
        track = audio_headers.opus(header)
        assert (track.codec, track.sample_rate, track.channels) == (Codec.OPUS, 48000, 2)
    with pytest.raises(ProtocolError):
        audio_headers.opus(b"OpusHead\x01")


def streaminfo(rate: int, channels: int) -> bytes:
    """STREAMINFO (RFC 9639 §8.2) of 16-bit samples."""
    return bytes(10) + (rate << 12 | (channels - 1) << 9 | 15 << 4).to_bytes(4, "big") + bytes(20)


@given(st.integers(1, 655_350), st.integers(1, 8))
def test_flac_with_and_without_its_marker(rate: int, channels: int) -> None:
    info = streaminfo(rate, channels)
    for header in (info, b"fLaC\x80\0\0\x22" + info):
        track: Track = audio_headers.flac(header)
        assert (track.sample_rate, track.channels) == (rate, channels)


@pytest.mark.parametrize(
    ("codec", "frame", "rate", "channels"),
    [
        (Codec.AC3, "0b77 0000 00 40 40 00", 48000, 2),
        (Codec.AC3, "0b77 0000 40 40 e1 00", 44100, 6),
        (Codec.EAC3, "0b77 0000 3f 00 00 00", 48000, 6),
    ],
)
def test_dolby_frames(codec: Codec, frame: str, rate: int, channels: int) -> None:
    track = audio_headers.ac3(codec, bytes.fromhex(frame))
    assert track.sample_rate == rate
    assert track.channels in (channels, channels - 1)


def test_mp3_frames() -> None:
    assert audio_headers.mp3(bytes.fromhex("fffb9064")).sample_rate == 44100
    assert audio_headers.mp3(bytes.fromhex("fff394c4")).channels == 1
    with pytest.raises(ProtocolError):
        audio_headers.mp3(bytes.fromhex("fffb9c64"))
