"""FLV bodies, tags and files: both ways, cut anywhere, damaged, and as two ffmpegs wrote them."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.media import Codec, Packet, Track
from relay.media.timeline import Timeline
from relay.protocol import amf0, codecs, flv
from relay.protocol.flv import AUDIO, HEADER_BYTES, SCRIPT, VIDEO, Depacketizer, Tag, TagReader
from tests.protocol.captures import FILES, flv_file
from tests.protocol.damage import value_or_error
from tests.protocol.flv_files import packets_of, read_file
from tests.protocol.flv_tables import (
    AAC,
    AVC,
    AVC_OTHER,
    BROKEN,
    BROKEN_FILES,
    FRAMES,
    GOOD,
    HEADERS,
    HEVC,
    MP3_FRAME,
    NO_MEDIA,
    OPUS,
    READ_ONLY,
    TAGS,
    FrameRow,
    HeaderRow,
)
from tests.support import listing


def primed(codec: Codec) -> Depacketizer:
    """A depacketizer that has had the sequence header of ``codec``, where it has one."""
    depacketizer = Depacketizer(Timeline())
    for _, type_id, body, owner, _ in HEADERS:
        if owner is codec:
            assert depacketizer.feed(type_id, 0, body) is None
    return depacketizer


def ids(rows: Sequence[HeaderRow | FrameRow]) -> list[str]:
    return [row[0] for row in rows]


@pytest.mark.parametrize(("name", "type_id", "body", "codec", "header"), HEADERS, ids=ids(HEADERS))
def test_sequence_headers_both_ways(name: str, type_id: int, body: bytes, codec: Codec, header: bytes) -> None:
    depacketizer = Depacketizer(Timeline())
    assert depacketizer.feed(type_id, 0, body) is None
    track = depacketizer.video or depacketizer.audio
    assert track == codecs.read_track(codec, header)
    assert flv.sequence_header(track) == body


@pytest.mark.parametrize(("name", "type_id", "body", "codec", "key", "cts", "payload"), FRAMES, ids=ids(FRAMES))
def test_frames_both_ways(
    name: str, type_id: int, body: bytes, codec: Codec, key: bool, cts: int, payload: bytes
) -> None:
    depacketizer = primed(codec)
    packet = depacketizer.feed(type_id, 5000, body)
    assert packet is not None
    assert packet == Packet(packet.track, 5000, 5000 + cts, key, payload)
    assert packet.track.codec is codec
    assert packet.track is (depacketizer.video if type_id == VIDEO else depacketizer.audio)
    assert flv.message_prefix(packet) + packet.data == body


@pytest.mark.parametrize(("name", "type_id", "body", "codec", "key", "cts", "payload"), READ_ONLY, ids=ids(READ_ONLY))
def test_frames_of_others(
    name: str, type_id: int, body: bytes, codec: Codec, key: bool, cts: int, payload: bytes
) -> None:
    packet = primed(codec).feed(type_id, 5000, body)
    assert packet is not None
    assert packet == Packet(packet.track, 5000, 5000 + cts, key, payload)
    assert packet.track.codec is codec


@pytest.mark.parametrize("rows", [FRAMES, READ_ONLY])
def test_a_body_may_be_any_kind_of_bytes(rows: list[FrameRow]) -> None:
    for name, type_id, body, codec, *_ in rows:
        expected = primed(codec).feed(type_id, 7, body)
        buffer = bytearray(b"before" + body)
        packet = primed(codec).feed(type_id, 7, memoryview(buffer)[6:])
        buffer[:] = bytes(len(buffer))
        assert packet == expected, name
        assert packet is not None
        assert type(packet.data) is bytes


@pytest.mark.parametrize(("name", "type_id", "body"), NO_MEDIA, ids=[row[0] for row in NO_MEDIA])
def test_what_carries_no_media(name: str, type_id: int, body: bytes) -> None:
    for codec in (Codec.H264, Codec.HEVC, Codec.AAC, Codec.OPUS):
        depacketizer = primed(codec)
        before = depacketizer.video, depacketizer.audio
        assert depacketizer.feed(type_id, 9, body) is None
        assert (depacketizer.video, depacketizer.audio) == before
        assert depacketizer.orphans == 0


@pytest.mark.parametrize(("type_id", "body", "message"), BROKEN)
def test_what_is_broken_is_said(type_id: int, body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        Depacketizer(Timeline()).feed(type_id, 0, body)


@pytest.mark.parametrize(
    "row", [row for row in (*FRAMES, *READ_ONLY) if row[3] is not Codec.MP3], ids=lambda row: row[0]
)
def test_a_frame_before_its_header_is_an_orphan(row: FrameRow) -> None:
    depacketizer = Depacketizer(Timeline())
    assert depacketizer.feed(row[1], 0, row[2]) is None
    assert depacketizer.orphans == 1


@pytest.mark.parametrize("row", HEADERS, ids=lambda row: row[0])
def test_a_repeated_header_keeps_the_very_track(row: HeaderRow) -> None:
    """Phones send the same SPS before every keyframe."""
    depacketizer = Depacketizer(Timeline())
    depacketizer.feed(row[1], 0, row[2])
    first = depacketizer.video or depacketizer.audio
    depacketizer.feed(row[1], 40, bytes(bytearray(row[2])))
    assert (depacketizer.video or depacketizer.audio) is first


def test_an_opus_header_without_magic_keeps_its_track_when_repeated() -> None:
    depacketizer = Depacketizer(Timeline())
    body = b"\x90Opus" + OPUS.removeprefix(b"OpusHead")
    depacketizer.feed(AUDIO, 0, body)
    track = depacketizer.audio
    depacketizer.feed(AUDIO, 20, body)
    assert track is not None
    assert depacketizer.audio is track
    assert track.header == OPUS


def test_a_changed_header_is_a_new_track() -> None:
    """A phone that turns."""
    depacketizer = primed(Codec.H264)
    one = depacketizer.feed(VIDEO, 0, b"\x17\x01\0\0\0key")
    depacketizer.feed(VIDEO, 40, b"\x17\0\0\0\0" + AVC_OTHER)
    other = depacketizer.feed(VIDEO, 40, b"\x17\x01\0\0\0key")
    assert one is not None
    assert other is not None
    assert (one.track.width, other.track.width) == (1280, 1920)


def test_a_codec_may_change_and_change_back() -> None:
    depacketizer = primed(Codec.AAC)
    mp3 = depacketizer.feed(AUDIO, 0, b"\x2f" + MP3_FRAME)
    assert mp3 is not None
    assert (mp3.track.codec, mp3.track.sample_rate) == (Codec.MP3, 44100)
    assert depacketizer.feed(AUDIO, 20, b"\xaf\x01frame") is None
    assert depacketizer.orphans == 1
    depacketizer.feed(AUDIO, 40, b"\xaf\0" + AAC)
    aac = depacketizer.feed(AUDIO, 40, b"\xaf\x01frame")
    assert aac is not None
    assert aac.track.codec is Codec.AAC


def test_a_vp9_track_learns_its_size_from_its_keyframes() -> None:
    header = b"\x90vp09" + bytes.fromhex("010000000028820202020000")
    key = b"\x91vp09" + bytes.fromhex("824983420055502ff60638241c184a18")
    depacketizer = Depacketizer(Timeline())
    depacketizer.feed(VIDEO, 0, header)
    first = depacketizer.feed(VIDEO, 0, key)
    assert first is not None
    assert (first.track.width, first.track.height) == (1366, 768)
    assert first.track is depacketizer.video
    depacketizer.feed(VIDEO, 33, header)
    later = [depacketizer.feed(VIDEO, 33, b"\xa1vp09\x86abc"), depacketizer.feed(VIDEO, 66, key)]
    assert [packet.track is first.track for packet in later if packet] == [True, True]


def test_a_sequence_header_has_its_limit() -> None:
    """One of 4 MiB is looked through for a second."""
    body = b"\x1c\x00\x00\x00\x00" + bytes(22) + b"\xff" + b"\x20\xff\xff" + bytes(HEADER_BYTES)
    with pytest.raises(LimitError) as caught:
        Depacketizer(Timeline()).feed(VIDEO, 0, body)
    assert caught.value.limit == "sequence_header"


def test_the_timeline_places_frames_only() -> None:
    depacketizer = Depacketizer(Timeline(origin_ms=0))
    depacketizer.feed(VIDEO, 0, HEADERS[0][2])
    stamps = [0xFFFFFFF0, 0x10, 0x30]
    packets = [depacketizer.feed(VIDEO, stamp, b"\x27\x01\0\0\0inter") for stamp in stamps]
    assert [packet.dts_ms for packet in packets if packet] == [0, 0x20, 0x40]


@given(st.sampled_from([AUDIO, VIDEO]), st.sampled_from(HEADERS), st.lists(st.binary(max_size=40), max_size=4))
def test_any_body_makes_a_packet_or_a_protocol_error(type_id: int, header: HeaderRow, bodies: list[bytes]) -> None:
    depacketizer = Depacketizer(Timeline())
    depacketizer.feed(header[1], 0, header[2])
    for number, body in enumerate(bodies):
        for each in (body, header[2][:5] + body):
            packet = value_or_error(depacketizer.feed, type_id, number, each)
            assert packet is None or isinstance(packet, ProtocolError) or 0 < len(packet.data) < len(each)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "type_id", "timestamp", "body", "hex_"), TAGS, ids=[row[0] for row in TAGS])
def test_tags_both_ways(name: str, type_id: int, timestamp: int, body: bytes, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert flv.tag(type_id, timestamp, body[:1], body[1:]) == data
    reader = TagReader()
    reader.feed(flv.file_header(has_video=True, has_audio=True))
    assert reader.feed(data) == [Tag(type_id, timestamp, body, 13 + len(data))]


@given(
    st.lists(
        st.tuples(st.sampled_from([AUDIO, VIDEO, SCRIPT]), st.integers(0, (1 << 32) - 1), st.binary(max_size=50)),
        max_size=20,
    )
)
def test_tags_round_trip(sent: list[tuple[int, int, bytes]]) -> None:
    data = GOOD + b"".join(flv.tag(*item) for item in sent)
    assert [tag[:3] for tag in TagReader().feed(data)] == sent


def test_a_tag_keeps_the_low_bits_of_a_timestamp() -> None:
    assert flv.tag(AUDIO, (1 << 32) + 5, b"a") == flv.tag(AUDIO, 5, b"a")
    assert flv.tag(AUDIO, -1, b"a") == flv.tag(AUDIO, 0xFFFFFFFF, b"a")


@pytest.mark.parametrize(
    ("video", "audio", "flags"), [(False, False, 0), (True, False, 1), (False, True, 4), (True, True, 5)]
)
def test_file_headers(video: bool, audio: bool, flags: int) -> None:
    header = flv.file_header(has_video=video, has_audio=audio)
    assert header == b"FLV\x01" + bytes((flags,)) + b"\0\0\0\x09\0\0\0\0"
    assert TagReader().feed(header) == []


H264_TRACK = codecs.read_track(Codec.H264, AVC)
H264_OTHER_TRACK = codecs.read_track(Codec.H264, AVC_OTHER)
TRACKS = [H264_TRACK, H264_OTHER_TRACK, codecs.read_track(Codec.HEVC, HEVC), codecs.read_track(Codec.AAC, AAC),
          codecs.read_track(Codec.OPUS, OPUS)]  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> list[Packet]:
    """Packets of tracks that change now and then, each track's DTS rising."""
    dts = {True: 0, False: 0}
    packets = []
    for _ in range(draw(st.integers(1, 12))):
        track = draw(st.sampled_from(TRACKS))
        is_video = track.codec.kind == "video"
        dts[is_video] += draw(st.integers(1, 5_000_000))
        cts = draw(st.integers(-(1 << 23), (1 << 23) - 1)) if is_video else 0
        key = draw(st.booleans()) or not is_video
        data = draw(st.binary(min_size=1, max_size=30))
        packets.append(Packet(track, dts[is_video], dts[is_video] + cts, key, data))
    return packets


def read_back(data: bytes, cuts: list[int]) -> tuple[list[Tag], list[Packet]]:
    reader = TagReader()
    tags = [
        tag
        for start, end in pairwise([0, *sorted(cuts), len(data)])
        for tag in reader.feed(memoryview(data)[start:end])
    ]
    assert reader.offset == len(data)
    return tags, packets_of(tags)


@given(runs(), st.lists(st.integers(0, 2000), max_size=8))
def test_packets_round_trip_however_the_file_is_cut(packets: list[Packet], cuts: list[int]) -> None:
    data = flv.file_header(has_video=True, has_audio=True) + flv.encode_batch(packets, (None, None))
    tags, again = read_back(data, [min(cut, len(data)) for cut in cuts])
    assert again == packets
    assert tags[-1].end == len(data)


@pytest.mark.parametrize("name", FILES)
def test_a_captured_session_reads_the_same_byte_by_byte(name: str) -> None:
    data = flv_file(name)[:3000]
    whole = TagReader()
    reader = TagReader()
    assert [tag for at in range(len(data)) for tag in reader.feed(data[at : at + 1])] == whole.feed(data)
    assert reader.offset == whole.offset <= len(data)


def test_headers_go_before_the_first_packet_of_each_new_track() -> None:
    packets = [Packet(track, 100 + n, 100 + n, True, b"x") for n, track in enumerate((H264_TRACK, H264_OTHER_TRACK))]
    same = flv.encode_batch(packets[:1], (H264_TRACK, None), base_ms=100)
    assert same == flv.tag(VIDEO, 0, b"\x17\x01\0\0\0x")
    both = flv.encode_batch(packets, (H264_TRACK, None), base_ms=100)
    assert both == same + flv.tag(VIDEO, 1, b"\x17\0\0\0\0" + AVC_OTHER) + flv.tag(VIDEO, 1, b"\x17\x01\0\0\0x")


def test_codecs_without_header_have_none_written() -> None:
    track = codecs.read_frame_track(Codec.MP3, MP3_FRAME)
    assert flv.sequence_header(track) is None
    packet = Packet(track, 0, 0, True, MP3_FRAME)
    assert flv.encode_batch([packet], (None, None)) == flv.tag(AUDIO, 0, b"\x2f" + MP3_FRAME)


@pytest.mark.parametrize(
    ("rate", "channels", "first"),
    [(48000, 2, 0x2F), (44100, 1, 0x2E), (24000, 2, 0x2B), (22050, 1, 0x2A), (11025, 1, 0x26), (0, 0, 0x2F)],
)
def test_mp3_says_its_nominal_rate(rate: int, channels: int, first: int) -> None:
    track = Track(codec=Codec.MP3, sample_rate=rate, channels=channels)
    assert flv.message_prefix(Packet(track, 0, 0, True, b"")) == bytes((first,))


def test_metadata_tells_what_the_tracks_say_and_keeps_plain_numbers() -> None:
    sent = {"framerate": 30, "videodatarate": float("nan"), "audiodatarate": -1, "width": 1, "filesize": 5, "key": "x"}
    name, values = amf0.decode(flv.metadata((H264_TRACK, codecs.read_track(Codec.OPUS, OPUS)), sent))
    assert name == "onMetaData"
    assert values == {
        "framerate": 30,
        "width": 1280,
        "height": 720,
        "videocodecid": 7,
        "audiosamplerate": 48000,
        "audiochannels": 1,
        "stereo": False,
        "audiocodecid": 0x4F707573,
        "encoder": flv.ENCODER,
    }


def test_metadata_fills_in_a_size_the_track_does_not_know() -> None:
    track = codecs.read_track(Codec.HEVC, HEVC)
    values = flv.describe((track, None), {"width": 640.0, "height": "tall"})
    assert values == {"width": 640, "videocodecid": 0x68766331, "encoder": flv.ENCODER}


@pytest.mark.parametrize(("name", "data", "message"), BROKEN_FILES, ids=[row[0] for row in BROKEN_FILES])
def test_broken_files_are_refused_where_they_break(name: str, data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        TagReader().feed(data)


def test_a_tag_larger_than_allowed_is_refused_before_it_is_there() -> None:
    reader = TagReader(max_tag_bytes=1000)
    assert len(reader.feed(GOOD + flv.tag(VIDEO, 0, bytes(1000)))) == 1
    with pytest.raises(LimitError) as caught:
        reader.feed(b"\x09\x00\x03\xe9" + bytes(7))
    assert caught.value.limit == "tag_size"


@given(st.sampled_from([b"", GOOD, GOOD + flv.tag(AUDIO, 0, b"abc")]), st.binary(max_size=60))
def test_any_bytes_make_tags_or_a_protocol_error(start: bytes, data: bytes) -> None:
    tags = value_or_error(TagReader().feed, start + data)
    assert isinstance(tags, ProtocolError) or all(tag.end <= len(start) + len(data) for tag in tags)


@pytest.mark.parametrize("name", FILES)
def test_captured_sessions_are_what_an_independent_reader_sees(name: str) -> None:
    packets, depacketizer = read_file(name)
    seen = [
        listing.Item(
            "video" if packet.is_video else "audio",
            packet.dts_ms,
            packet.pts_ms - packet.dts_ms,
            packet.is_keyframe,
            listing.digest(packet.data),
        )
        for packet in packets
    ]
    expected = listing.Listing()
    for type_id, timestamp, body in listing.tags(flv_file(name)):
        if body[0] not in (0x96, 0xA6):  # the second video track of a multitrack session
            expected.add(type_id, timestamp, body)
    nothing = listing.digest(b"")  # ffmpeg ends FLAC with an empty frame
    assert seen == [item for item in expected.items if item.digest != nothing]
    assert depacketizer.orphans == 0


@pytest.mark.parametrize("name", FILES)
def test_captured_sessions_round_trip(name: str) -> None:
    packets, _ = read_file(name)
    data = flv.file_header(has_video=True, has_audio=True) + flv.encode_batch(packets, (None, None))
    assert read_back(data, [])[1] == packets


def test_another_depacketizer_begins_with_the_very_same_tracks() -> None:
    packets, first = read_file(FILES[0])
    other = Depacketizer(Timeline())
    other.adopt(first)
    assert (other.video, other.audio) == (first.video, first.audio)
    assert other.video is first.video
    body = flv.message_prefix(packets[-1]) + packets[-1].data
    fed = other.feed(VIDEO if packets[-1].is_video else AUDIO, 0, body)
    assert fed is not None
    assert fed.track is packets[-1].track
