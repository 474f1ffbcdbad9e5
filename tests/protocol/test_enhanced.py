"""Enhanced RTMP bodies: a table both ways, multitrack and ModEx, nothing but our own errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Packet, Track
from relay.protocol.enhanced import (
    FOURCC,
    FRAME,
    HEADER,
    Body,
    codec_id,
    prefix,
    read_audio,
    read_video,
    sequence_header,
)

CC = {code.decode(): code.hex() for code in FOURCC}
VIDEO = [
    ("hevc header", f"90 {CC['hvc1']} aabb", Body(Codec.HEVC, HEADER, True, 0, b"\xaa\xbb")),
    ("hevc keyframe, no composition time", f"93 {CC['hvc1']} aabb", Body(Codec.HEVC, FRAME, True, 0, b"\xaa\xbb")),
    ("hevc inter frame, 40 ms", f"a1 {CC['hvc1']} 000028 aabb", Body(Codec.HEVC, FRAME, False, 40, b"\xaa\xbb")),
    ("av1 keyframe", f"91 {CC['av01']} aabb", Body(Codec.AV1, FRAME, True, 0, b"\xaa\xbb")),
    ("vp9 inter frame", f"a1 {CC['vp09']} aabb", Body(Codec.VP9, FRAME, False, 0, b"\xaa\xbb")),
]
AUDIO = [
    ("opus header", f"90 {CC['Opus']} aabb", Body(Codec.OPUS, HEADER, True, 0, b"\xaa\xbb")),
    ("opus frame", f"91 {CC['Opus']} aabb", Body(Codec.OPUS, FRAME, True, 0, b"\xaa\xbb")),
    ("ac-3 frame", f"91 {CC['ac-3']} aabb", Body(Codec.AC3, FRAME, True, 0, b"\xaa\xbb")),
    ("flac frame", f"91 {CC['fLaC']} aabb", Body(Codec.FLAC, FRAME, True, 0, b"\xaa\xbb")),
]


def written(body: Body) -> bytes:
    track = Track(codec=body.codec, header=body.data)
    if body.kind == HEADER:
        return sequence_header(track)
    return prefix(Packet(track, 1000, 1000 + body.cts, body.is_keyframe, body.data)) + body.data


@pytest.mark.parametrize(("name", "wire", "body"), VIDEO, ids=[row[0] for row in VIDEO])
def test_video_both_ways(name: str, wire: str, body: Body) -> None:
    assert read_video(bytes.fromhex(wire)) == body
    assert written(body) == bytes.fromhex(wire)


@pytest.mark.parametrize(("name", "wire", "body"), AUDIO, ids=[row[0] for row in AUDIO])
def test_audio_both_ways(name: str, wire: str, body: Body) -> None:
    assert read_audio(bytes.fromhex(wire)) == body
    assert written(body) == bytes.fromhex(wire)


FRAME_AV1 = Body(Codec.AV1, FRAME, True, 0, b"\xaa\xbb")


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("one track, number 0", f"96 01 {CC['av01']} 00 aabb"),
        ("many tracks, the default second", f"96 11 {CC['av01']} 01 000001 ff 00 000002 aabb"),
        ("many codecs", f"96 21 {CC['hvc1']} 01 000001 ff {CC['av01']} 00 000002 aabb"),
        ("a nanosecond offset before it", f"97 02 000001 01 {CC['av01']} aabb"),
        ("a long ModEx before it", f"97 ff 0100 {'00' * 257} 01 {CC['av01']} aabb"),
    ],
)
def test_the_default_track_is_taken_and_modex_skipped(name: str, wire: str) -> None:
    assert read_video(bytes.fromhex(wire)) == FRAME_AV1


@pytest.mark.parametrize(
    "wire", [f"94 {CC['hvc1']} 00", f"92 {CC['hvc1']}", f"96 01 {CC['av01']} 05 aabb", "d0 00", f"92 {CC['av01']}"]
)
def test_what_carries_no_media_of_ours_is_none(wire: str) -> None:
    assert read_video(bytes.fromhex(wire)) is None


@pytest.mark.parametrize(
    ("wire", "words"),
    [("91 78787878 00", "xxxx"), ("91 68", "cut short"), (f"95 {CC['av01']}", "MPEG-TS"), ("96 31", "type 3")],
)
def test_bad_bodies_are_named(wire: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        read_video(bytes.fromhex(wire))


@given(
    st.sampled_from(list(FOURCC.values())), st.integers(-5000, 5000), st.booleans(), st.binary(min_size=1, max_size=20)
)
def test_frames_round_trip(codec: Codec, cts: int, key: bool, data: bytes) -> None:
    is_video = codec.kind == "video"
    has_cts = codec in (Codec.H264, Codec.HEVC)
    body = Body(codec, FRAME, key if is_video else True, cts if has_cts else 0, data)
    read = read_video if is_video else read_audio
    assert read(written(body)) == body


@given(st.binary(min_size=1, max_size=60))
def test_arbitrary_bodies_raise_nothing_but_protocol_errors(data: bytes) -> None:
    for read in (read_video, read_audio):
        try:
            read(data)
        except ProtocolError:
            continue


def test_codec_numbers_of_metadata() -> None:
    assert (codec_id(Codec.H264), codec_id(Codec.AAC), codec_id(Codec.MP3)) == (7, 10, 2)
    assert codec_id(Codec.HEVC) == int.from_bytes(b"hvc1", "big")
