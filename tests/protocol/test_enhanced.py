"""Enhanced RTMP bodies: what each kind says, ModEx and multitrack around them, and what is written for packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Packet, Track
from relay.protocol import enhanced
from relay.protocol.enhanced import FOURCC, FRAME, HEADER, Body, read_audio, read_video
from tests.protocol.damage import value_or_error
from tests.protocol.flv_files import read_file

# name, body, codec, keyframe, CTS in ms, payload: what is written for a packet, and read back
FRAMES = [
    ("HEVC key, shown at once", b"\x93hvc1key", Codec.HEVC, True, 0, b"key"),
    ("HEVC inter, shown at once", b"\xa3hvc1inter", Codec.HEVC, False, 0, b"inter"),
    ("HEVC inter, shown later", b"\xa1hvc1\x00\x00\x21inter", Codec.HEVC, False, 33, b"inter"),
    ("HEVC key, shown earlier", b"\x91hvc1\xff\xff\xdfkey", Codec.HEVC, True, -33, b"key"),
    ("H.264 inter, shown later", b"\xa1avc1\x00\x01\x00inter", Codec.H264, False, 256, b"inter"),
    ("AV1 key", b"\x91av01key", Codec.AV1, True, 0, b"key"),
    ("AV1 inter", b"\xa1av01inter", Codec.AV1, False, 0, b"inter"),
    ("VP9 key", b"\x91vp09key", Codec.VP9, True, 0, b"key"),
    ("VP8 inter", b"\xa1vp08inter", Codec.VP8, False, 0, b"inter"),
    ("AAC", b"\x91mp4aframe", Codec.AAC, True, 0, b"frame"),
    ("Opus", b"\x91Opusframe", Codec.OPUS, True, 0, b"frame"),
    ("FLAC", b"\x91fLaCframe", Codec.FLAC, True, 0, b"frame"),
    ("AC-3", b"\x91ac-3frame", Codec.AC3, True, 0, b"frame"),
    ("E-AC-3", b"\x91ec-3frame", Codec.EAC3, True, 0, b"frame"),
    ("MP3", b"\x91.mp3frame", Codec.MP3, True, 0, b"frame"),
]


def read(codec: Codec, body: bytes | memoryview) -> Body | None:
    return read_video(body) if codec.kind == "video" else read_audio(body)


@pytest.mark.parametrize(("name", "body", "codec", "key", "cts", "payload"), FRAMES, ids=[row[0] for row in FRAMES])
def test_frames_both_ways(name: str, body: bytes, codec: Codec, key: bool, cts: int, payload: bytes) -> None:
    assert read(codec, body) == Body(codec, FRAME, key, cts, memoryview(payload))
    assert enhanced.prefix(Packet(Track(codec=codec), 1000, 1000 + cts, key, payload)) + payload == body


# what other programs write, and we do not
READ_ONLY = [
    ("HEVC, a composition time of nothing", b"\xa1hvc1\0\0\0inter", Codec.HEVC, False, 0),
    ("HEVC by its other name", b"\xa3hev1inter", Codec.HEVC, False, 0),
    ("a generated keyframe", b"\xc3hvc1inter", Codec.HEVC, True, 0),
    ("a disposable frame", b"\xb3hvc1inter", Codec.HEVC, False, 0),
    ("AV1 as CodedFramesX", b"\xa3av01inter", Codec.AV1, False, 0),
    ("ModEx: a nanosecond offset", b"\xa7\x02\x01\x02\x03\x03hvc1inter", Codec.HEVC, False, 0),
    ("ModEx twice", b"\xa7\x02\x01\x02\x03\x07\x00\xff\x01av01inter", Codec.AV1, False, 0),
    ("ModEx of 256 bytes and more", b"\xa7\xff\x01\x2b" + bytes(300) + b"\x03hvc1inter", Codec.HEVC, False, 0),
    ("one track, the default one", b"\xa6\x01hvc1\x00\x00\x00\x21inter", Codec.HEVC, False, 33),
    ("many tracks, the default first", b"\xa6\x13hvc1\x00\0\0\x05inter\x01\0\0\x05other", Codec.HEVC, False, 0),
    ("many tracks, the default last", b"\xa6\x13hvc1\x02\0\0\x05other\x00\0\0\x05inter", Codec.HEVC, False, 0),
    ("many codecs, one of them unknown", b"\xa6\x21vvc1\x01\0\0\x01oav01\x00\0\0\x05inter", Codec.AV1, False, 0),
    ("audio behind ModEx", b"\x97\x02\x00\x00\x64\x01mp4ainter", Codec.AAC, True, 0),
    ("audio, one track", b"\x95\x01Opus\x00inter", Codec.OPUS, True, 0),
    ("audio, many codecs", b"\x95\x21mp4a\x03\0\0\x01oOpus\x00\0\0\x05inter", Codec.OPUS, True, 0),
]


@pytest.mark.parametrize(("name", "body", "codec", "key", "cts"), READ_ONLY, ids=[row[0] for row in READ_ONLY])
def test_frames_of_others(name: str, body: bytes, codec: Codec, key: bool, cts: int) -> None:
    assert read(codec, body) == Body(codec, FRAME, key, cts, memoryview(b"inter"))


@pytest.mark.parametrize("code", [code for code in FOURCC if code != b"hev1"])
def test_sequence_headers_both_ways(code: bytes) -> None:
    codec = FOURCC[code]
    body = enhanced.sequence_header(Track(codec=codec, header=b"header"))
    assert body == b"\x90" + code + b"header"
    assert read(codec, body) == Body(codec, HEADER, True, 0, memoryview(b"header"))


NO_MEDIA = [
    ("end of sequence", Codec.HEVC, b"\x92hvc1"),
    ("HDR metadata", Codec.HEVC, b"\x94hvc1\x02\x00\x09colorInfo"),
    ("HDR metadata as ffmpeg writes it", Codec.HEVC, b"\xd4hvc1\x02\x00\x09colorInfo"),
    ("seek command", Codec.HEVC, b"\xd0\x00"),
    ("seek command behind ModEx", Codec.HEVC, b"\xd7\x02\0\0\0\x01\x00"),
    ("a packet type of later versions", Codec.HEVC, b"\x9ehvc1abc"),
    ("another track", Codec.H264, b"\xa6\x01avc1\x01\0\0\0other"),
    ("another track of a codec nobody knows", Codec.H264, b"\xa6\x01vvc1\x01\0\0\0other"),
    ("other tracks only", Codec.H264, b"\xa6\x13avc1\x01\0\0\x05other\x02\0\0\x05other"),
    ("speaker layout", Codec.OPUS, b"\x94Opus\x01\x02\0\0\0\x03"),
    ("end of audio", Codec.OPUS, b"\x92Opus"),
    ("another audio track", Codec.OPUS, b"\x95\x01mp4a\x01other"),
]


@pytest.mark.parametrize(("name", "codec", "body"), NO_MEDIA, ids=[row[0] for row in NO_MEDIA])
def test_what_carries_no_media(name: str, codec: Codec, body: bytes) -> None:
    assert read(codec, body) is None


BROKEN = [
    ("no code", Codec.HEVC, b"\x93hv", "cut short"),
    ("no composition time", Codec.HEVC, b"\x91hvc1\x00", "cut short"),
    ("ModEx longer than the message", Codec.HEVC, b"\x97\x20abc", "cut short"),
    ("ModEx without size", Codec.HEVC, b"\x97\xff\x01", "cut short"),
    ("a track longer than the message", Codec.HEVC, b"\xa6\x13hvc1\x01\0\xff\xffabc", "cut short"),
    ("a multitrack type of later versions", Codec.HEVC, b"\xa6\x31hvc1", "multitrack type 3"),
    ("multitrack in multitrack", Codec.HEVC, b"\xa6\x06hvc1\x00abc", "inside another"),
    ("VVC", Codec.HEVC, b"\x93vvc1abc", "'vvc1' is not supported; set the encoder to H.264"),
    ("AV1 by MPEG-TS descriptor", Codec.AV1, b"\x95av01abc", "MPEG-TS"),
    ("audio in a video message", Codec.HEVC, b"\x91Opusabc", "other kind of track"),
    ("video in an audio message", Codec.OPUS, b"\x91av01abc", "other kind of track"),
]


@pytest.mark.parametrize(("name", "codec", "body", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_is_broken_is_said(name: str, codec: Codec, body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read(codec, body)


@given(
    st.sampled_from([codec for codec in Codec if codec.kind == "video"]),
    st.integers(0, 1 << 33),
    st.integers(-(1 << 23), (1 << 23) - 1),
    st.booleans(),
    st.binary(max_size=50),
)
def test_packets_round_trip(codec: Codec, dts_ms: int, cts: int, key: bool, data: bytes) -> None:
    cts = cts if codec in enhanced.WITH_CTS else 0
    packet = Packet(Track(codec=codec), dts_ms, dts_ms + cts, key, data)
    body = enhanced.prefix(packet) + data
    assert read_video(body) == Body(codec, FRAME, key, cts, memoryview(data))
    assert read_video(memoryview(bytearray(body))) == read_video(body)


@given(st.integers(0, 255), st.binary(min_size=1, max_size=60), st.sampled_from([b"", *FOURCC]))
def test_any_bytes_make_a_body_or_a_protocol_error(first: int, rest: bytes, code: bytes) -> None:
    for read_one, marked in ((read_video, first | 0x80), (read_audio, first & 0x0F | 0x90)):
        body = value_or_error(read_one, bytes((marked,)) + code + rest)
        assert body is None or isinstance(body, ProtocolError) or len(body.data) <= len(rest)


@pytest.mark.parametrize(
    ("codec", "number"), [(Codec.H264, 7), (Codec.AAC, 10), (Codec.MP3, 2), (Codec.AV1, 0x61763031)]
)
def test_codec_ids_of_metadata(codec: Codec, number: int) -> None:
    assert enhanced.codec_id(codec) == number


def test_a_captured_session_with_two_video_tracks() -> None:
    """ffmpeg 9 sends its first video track the old way and the second, smaller one as track 1 of a multitrack."""
    packets, depacketizer = read_file("two_videos_aac")
    assert depacketizer.video is not None
    assert (depacketizer.video.width, depacketizer.orphans) == (128, 0)
    video = [packet for packet in packets if packet.is_video]
    assert len(video) == 18
    assert {packet.track for packet in video} == {depacketizer.video}
