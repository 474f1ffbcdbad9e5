"""Sequence headers: facts read from those of real encoders; malformed ones are our errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.media.timeline import Timeline
from relay.protocol.codecs import read_frame_track, read_track
from relay.protocol.flv import SCRIPT, Depacketizer, TagReader
from tests.protocol.captures import flv_file

TABLE = [
    ("h264 640x360", Codec.H264, "0142c01effe100196742c01eda0280bfe5c04400000300040000030"
     "0f03c58ba8001000468ce3c80", {"codec_string": "avc1.42c01e", "width": 640, "height": 360}),
    ("aac lc 48 kHz stereo", Codec.AAC, "1190", {"sample_rate": 48000, "channels": 2, "codec_string": "mp4a.40.2"}),
    ("aac lc 44.1 kHz mono", Codec.AAC, "1208", {"sample_rate": 44100, "channels": 1, "codec_string": "mp4a.40.2"}),
    ("he-aac, explicit", Codec.AAC, "2b0a8800", {"sample_rate": 32000, "channels": 1, "codec_string": "mp4a.40.5"}),
    ("aac, 24-bit rate", Codec.AAC, "17805dc010", {"sample_rate": 48000, "channels": 2, "codec_string": "mp4a.40.2"}),
    ("opus", Codec.OPUS, "4f707573486561640102380180bb0000000000", {"sample_rate": 48000, "channels": 2}),
    ("vp9", Codec.VP9, "01000000010b8702", {"codec_string": "vp09.01.11.08"}),
    ("av1 without obus", Codec.AV1, "81040c00", {"codec_string": "av01.0.04M.08", "width": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec", "header", "facts"), TABLE, ids=[row[0] for row in TABLE])
def test_table(name: str, codec: Codec, header: str, facts: dict[str, object]) -> None:
    track = read_track(codec, bytes.fromhex(header))
    assert (track.codec, track.header) == (codec, bytes.fromhex(header))
    assert {key: getattr(track, key) for key in facts} == facts


def tracks(name: str) -> tuple[Track | None, Track | None]:
    depacketizer = Depacketizer(Timeline())
    for tag in TagReader().feed(flv_file(name)):
        if tag.type_id != SCRIPT:
            depacketizer.feed(tag.type_id, tag.timestamp, tag.body)
    return depacketizer.video, depacketizer.audio


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("h264_b_aac", (Codec.H264, 64, 36, "avc1."), (Codec.AAC, 48000, 1, "mp4a.40.2")),
        ("hevc_aac", (Codec.HEVC, 64, 36, "hvc1."), (Codec.AAC, 48000, 1, "mp4a.40.2")),
        ("av1_opus", (Codec.AV1, 64, 36, "av01.0."), (Codec.OPUS, 48000, 1, "opus")),
        ("vp9_flac", (Codec.VP9, 64, 36, "vp09."), (Codec.FLAC, 48000, 1, "fLaC")),
        ("mp3", None, (Codec.MP3, 48000, 1, "mp4a.40.34")),
        ("ac3", None, (Codec.AC3, 48000, 1, "ac-3")),
    ],
)
def test_facts_of_real_encoders(
    name: str, video: tuple[Codec, int, int, str] | None, audio: tuple[Codec, int, int, str]
) -> None:
    got_video, got_audio = tracks(name)
    if video is not None:
        assert got_video is not None
        assert (got_video.codec, got_video.width, got_video.height) == video[:3]
        assert got_video.codec_string.startswith(video[3])
    elif name != "ac3":
        assert got_video is None
    assert got_audio is not None
    assert (got_audio.codec, got_audio.sample_rate, got_audio.channels) == audio[:3]
    assert got_audio.codec_string == audio[3]


def test_frame_tracks_of_mp3_and_dolby() -> None:
    assert read_frame_track(Codec.MP3, bytes.fromhex("fffb9064")).channels == 2
    assert read_frame_track(Codec.EAC3, bytes.fromhex("0b77 0000 3f 0000 00".replace(" ", ""))).channels == 6
    with pytest.raises(ProtocolError):
        read_frame_track(Codec.MP3, b"\0\0\0\0")
    with pytest.raises(ProtocolError):
        read_frame_track(Codec.AC3, b"\x0b\x77")


@given(st.sampled_from(list(Codec)), st.binary(max_size=120))
def test_arbitrary_headers_raise_nothing_but_protocol_errors(codec: Codec, header: bytes) -> None:
    for read in (read_track, read_frame_track):
        try:
            read(codec, header)
        except ProtocolError:
            continue


@given(st.sampled_from(["h264_b_aac", "hevc_aac", "av1_opus"]), st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_real_header_raises_nothing_but_protocol_errors(name: str, at: int, value: int) -> None:
    for track in tracks(name):
        assert track is not None
        damaged = bytearray(track.header)
        damaged[at % len(damaged)] = value
        for header in (bytes(damaged), bytes(damaged[: at % len(damaged)])):
            try:
                read_track(track.codec, header)
            except ProtocolError:
                continue
