"""FLV: packets out of bodies and back, files cut anywhere, the quirks of named encoders."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.media import Codec, Packet, Track
from relay.media.timeline import Timeline
from relay.protocol import flv
from relay.protocol.amf0 import decode
from tests.protocol.captures import FILES, cuts, flv_file, pieces

AVC_HEADER = bytes.fromhex("0142c01effe100196742c01eda0280bfe5c044000003000400000300f03c58ba8001000468ce3c80")
AAC_HEADER = bytes.fromhex("1190")


def packets_of(tags: Sequence[flv.Tag]) -> list[Packet]:
    depacketizer = flv.Depacketizer(Timeline())
    found = [depacketizer.feed(tag.type_id, tag.timestamp, tag.body) for tag in tags if tag.type_id != flv.SCRIPT]
    return [packet for packet in found if packet is not None]


def started() -> flv.Depacketizer:
    depacketizer = flv.Depacketizer(Timeline())
    assert depacketizer.feed(flv.VIDEO, 0, b"\x17\0\0\0\0" + AVC_HEADER) is None
    assert depacketizer.feed(flv.AUDIO, 0, b"\xaf\0" + AAC_HEADER) is None
    return depacketizer


TABLE = [
    ("h264 keyframe", flv.VIDEO, "17 01 000000 aabb", Codec.H264, 0, True),
    ("h264 inter frame, 40 ms composition time", flv.VIDEO, "27 01 000028 aabb", Codec.H264, 40, False),
    ("h264 inter frame, -40 ms composition time", flv.VIDEO, "27 01 ffffd8 aabb", Codec.H264, -40, False),
    ("aac frame", flv.AUDIO, "af 01 aabb", Codec.AAC, 0, True),
]


@pytest.mark.parametrize(("name", "type_id", "body", "codec", "cts", "key"), TABLE, ids=[row[0] for row in TABLE])
def test_table_both_ways(name: str, type_id: int, body: str, codec: Codec, cts: int, key: bool) -> None:
    wire = bytes.fromhex(body)
    packet = started().feed(type_id, 1000, wire)
    assert packet is not None
    assert (packet.track.codec, packet.dts_ms, packet.pts_ms, packet.is_keyframe) == (codec, 1000, 1000 + cts, key)
    assert packet.data == b"\xaa\xbb"
    assert flv.message_prefix(packet) + packet.data == wire


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_survives_being_written_again(name: str) -> None:
    packets = packets_of(flv.TagReader().feed(flv_file(name)))
    assert len(packets) > 5
    file = flv.file_header(has_video=True, has_audio=True) + flv.encode_batch(packets, (None, None))
    again = packets_of(flv.TagReader().feed(file))
    assert [packet[1:] for packet in again] == [packet[1:] for packet in packets]
    assert [packet.track for packet in again] == [packet.track for packet in packets]


@given(st.sampled_from(FILES), cuts)
def test_a_file_may_be_cut_anywhere(name: str, sizes: list[int]) -> None:
    data = flv_file(name)
    reader = flv.TagReader()
    tags = [tag for piece in pieces(data, sizes) for tag in reader.feed(piece)]
    assert tags == flv.TagReader().feed(data)
    assert reader.offset == tags[-1].end == len(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([flv.AUDIO, flv.VIDEO, flv.SCRIPT]), st.integers(0, 2**32 - 1), st.binary(max_size=50)
        ),
        max_size=20,
    )
)
def test_tags_round_trip(sent: list[tuple[int, int, bytes]]) -> None:
    file = flv.file_header(has_video=True, has_audio=False) + b"".join(flv.tag(*item) for item in sent)
    assert [tag[:3] for tag in flv.TagReader().feed(file)] == sent


def test_identical_headers_keep_the_track_and_changed_ones_do_not() -> None:
    depacketizer = started()
    video, audio = depacketizer.video, depacketizer.audio
    depacketizer.feed(flv.VIDEO, 5, b"\x17\0\0\0\0" + AVC_HEADER)
    depacketizer.feed(flv.AUDIO, 5, b"\xaf\0" + AAC_HEADER)
    assert depacketizer.video is video
    assert depacketizer.audio is audio
    depacketizer.feed(flv.AUDIO, 5, b"\xaf\0\x12\x10")
    assert depacketizer.audio is not audio


@pytest.mark.parametrize(
    ("name", "type_id", "body"),
    [
        ("empty message, a keep-alive", flv.VIDEO, ""),
        ("one byte", flv.AUDIO, "af"),
        ("info frame", flv.VIDEO, "57 00"),
        ("end of sequence, as ffmpeg sends it", flv.VIDEO, "17 02 000000"),
        ("empty AAC configuration, as some phones send first", flv.AUDIO, "af 00"),
        ("frame without data", flv.VIDEO, "27 01 000000"),
    ],
)
def test_what_is_no_frame_is_passed_over(name: str, type_id: int, body: str) -> None:
    assert started().feed(type_id, 0, bytes.fromhex(body)) is None


def test_frames_before_their_header_are_counted_and_dropped() -> None:
    depacketizer = flv.Depacketizer(Timeline())
    assert depacketizer.feed(flv.VIDEO, 0, bytes.fromhex("17 01 000000 aabb")) is None
    assert depacketizer.feed(flv.AUDIO, 0, bytes.fromhex("af 01 aabb")) is None
    assert depacketizer.orphans == 2


@pytest.mark.parametrize(("body", "words"), [("22 0000", "H.263"), ("24 0000", "VP6"), ("1f 0000", "number 15")])
def test_a_video_codec_we_do_not_carry_is_named(body: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        started().feed(flv.VIDEO, 0, bytes.fromhex(body))


@pytest.mark.parametrize(("body", "words"), [("b2 0000", "Speex"), ("62 00", "Nellymoser")])
def test_an_audio_codec_we_do_not_carry_is_named(body: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        started().feed(flv.AUDIO, 0, bytes.fromhex(body))


@given(st.sampled_from([flv.AUDIO, flv.VIDEO]), st.binary(max_size=80))
def test_arbitrary_bodies_raise_nothing_but_protocol_errors(type_id: int, body: bytes) -> None:
    for depacketizer in (started(), flv.Depacketizer(Timeline())):
        try:
            depacketizer.feed(type_id, 0, body)
        except ProtocolError:
            continue


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_files_raise_nothing_but_protocol_errors(data: bytes, with_header: bool) -> None:
    start = flv.file_header(has_video=True, has_audio=True) if with_header else b""
    try:
        flv.TagReader().feed(start + data)
    except ProtocolError:
        return


def test_a_tag_over_the_limit_is_refused_when_announced() -> None:
    reader = flv.TagReader(max_tag_bytes=100)
    header = flv.file_header(has_video=True, has_audio=True)
    assert len(reader.feed(header + flv.tag(flv.VIDEO, 0, bytes(100)))) == 1
    with pytest.raises(LimitError) as caught:
        reader.feed(flv.tag(flv.VIDEO, 0, bytes(101))[:11])
    assert caught.value.limit == "tag_size"


def test_metadata_describes_the_tracks_and_keeps_only_sane_numbers() -> None:
    depacketizer = started()
    tracks = (depacketizer.video, depacketizer.audio)
    body = flv.metadata(tracks, {"framerate": 30.0, "videodatarate": "lots", "audiodatarate": True, "evil": {}})
    name, values = decode(body)
    assert name == "onMetaData"
    assert isinstance(values, dict)
    assert values["framerate"] == 30.0
    assert (values["audiosamplerate"], values["stereo"], values["videocodecid"]) == (48000, True, 7)
    assert values.keys().isdisjoint({"videodatarate", "audiodatarate", "evil"})


def test_the_sequence_headers_that_codecs_have() -> None:
    assert flv.sequence_header(Track(codec=Codec.H264, header=b"h")) == b"\x17\0\0\0\0h"
    assert flv.sequence_header(Track(codec=Codec.AAC, header=b"a")) == b"\xaf\0a"
    assert flv.sequence_header(Track(codec=Codec.MP3)) is None
    assert flv.sequence_header(Track(codec=Codec.HEVC, header=b"h")) == b"\x90hvc1h"
