"""Chunks: a table both ways, any cutting, interleaving, every header form, both kinds of peers, limits at the edge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitError, ProtocolError
from relay.protocol.rtmp.chunk import ChunkReader, Message, write_message
from relay.protocol.rtmp.limits import RtmpLimits
from tests.protocol.captures import SESSIONS, chunks_of, cuts, pieces


def read(data: bytes, limits: RtmpLimits | None = None) -> list[Message]:
    out: list[Message] = []
    ChunkReader(limits).read(data, out)
    return out


def shorts(messages: list[Message]) -> list[tuple[int, int, int, bytes]]:
    return [(message.type_id, message.stream_id, message.timestamp, message.payload) for message in messages]


TABLE = [
    ("audio", "04 0003e8 000003 08 01000000 616263", 4, (8, 1, 1000, b"abc")),
    ("empty", "06 000000 000000 09 01000000", 6, (9, 1, 0, b"")),
    ("extended timestamp", "04 ffffff 000001 08 01000000 01000000 61", 4, (8, 1, 1 << 24, b"a")),
    ("extended at its edge", "04 ffffff 000001 08 01000000 00ffffff 61", 4, (8, 1, 0xFFFFFF, b"a")),
    ("largest plain timestamp", "04 fffffe 000001 08 01000000 61", 4, (8, 1, 0xFFFFFE, b"a")),
    ("two chunks", "04 000000 000081 08 01000000" + "61" * 128 + "c4 61", 4, (8, 1, 0, b"a" * 129)),
    ("two chunks, extended", "04 ffffff 000081 08 01000000 fffffffe" + "61" * 128 + "c4 fffffffe 61", 4,
     (8, 1, 0xFFFFFFFE, b"a" * 129)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wire", "csid", "value"), TABLE, ids=[row[0] for row in TABLE])
def test_table_both_ways(name: str, wire: str, csid: int, value: tuple[int, int, int, bytes]) -> None:
    assert shorts(read(bytes.fromhex(wire))) == [value]
    assert write_message(*value, chunk_size=128, csid=csid) == bytes.fromhex(wire)


@pytest.mark.parametrize(
    ("name", "wire", "times"),
    [
        ("fmt 1 adds", "04 0003e8 000001 08 01000000 61  44 000017 000001 08 61", [1000, 1023]),
        ("fmt 2 adds and keeps the length", "04 0003e8 000001 08 01000000 61  84 000017 61", [1000, 1023]),
        ("fmt 3 repeats the delta of fmt 2",
         "04 0003e8 000001 08 01000000 61  84 000017 61  c4 61", [1000, 1023, 1046]),
        ("fmt 3 after a small fmt 0: its time is the delta, as ffmpeg means it",
         "04 000017 000001 08 01000000 61  c4 61", [23, 46]),
        ("fmt 3 after a large fmt 0: the same time, as librtmp means it",
         "04 0186a0 000001 08 01000000 61  c4 61", [100_000, 100_000]),
        ("a fresh chunk stream may begin with fmt 1", "44 000017 000001 08 61", [23]),
        ("a delta past 2^32", "04 ffffff 000001 08 01000000 fffffff0 61  84 000020 61", [0xFFFFFFF0, 0x10]),
        ("an extended delta", "04 000000 000001 08 01000000 61  84 ffffff 01000000 61", [0, 1 << 24]),
    ],
)  # fmt: skip
def test_timestamps(name: str, wire: str, times: list[int]) -> None:
    assert [message.timestamp for message in read(bytes.fromhex(wire))] == times


@pytest.mark.parametrize(("form", "basic"), [("one byte", "3f"), ("two bytes", "00 05"), ("three bytes", "01 0501")])
def test_chunk_stream_ids_of_every_length(form: str, basic: str) -> None:
    follow = f"{int(basic[:2], 16) | 0xC0:02x}{basic[2:]}"
    wire = f"{basic} 000000 000081 08 01000000 {'61' * 128} {follow} 62"
    assert shorts(read(bytes.fromhex(wire))) == [(8, 1, 0, b"a" * 128 + b"b")]


@pytest.mark.parametrize("repeats", [True, False], ids=["repeated, as Adobe says", "not repeated, as some encoders do"])
def test_extended_timestamps_on_fmt_3(repeats: bool) -> None:
    again = "01234567" if repeats else ""
    wire = f"04 ffffff 000102 09 01000000 01234567 {'61' * 128} c4 {again} {'62' * 128} c4 {again} 6363"
    (message,) = read(bytes.fromhex(wire))
    assert (message.timestamp, message.payload) == (0x01234567, b"a" * 128 + b"b" * 128 + b"cc")


messages = st.lists(
    st.tuples(
        st.sampled_from([8, 9, 18, 20]),
        st.integers(0, 3),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=700),
        st.integers(2, 63),
    ),
    max_size=12,
)  # fmt: skip


@given(messages, st.integers(128, 600))
def test_round_trip(sent: list[tuple[int, int, int, bytes, int]], chunk_size: int) -> None:
    data = write_message(1, 0, 0, chunk_size.to_bytes(4, "big"), chunk_size=128, csid=2)
    data += b"".join(write_message(*item[:4], chunk_size=chunk_size, csid=item[4]) for item in sent)
    assert shorts(read(data))[1:] == [item[:4] for item in sent]


@given(messages, cuts)
def test_any_cutting_gives_the_same_messages_and_offsets(
    sent: list[tuple[int, int, int, bytes, int]], sizes: list[int]
) -> None:
    data = b"".join(write_message(*item[:4], chunk_size=128, csid=item[4]) for item in sent)
    reader, out = ChunkReader(), []
    for piece in pieces(data, sizes):
        reader.read(memoryview(piece), out)
    assert out == read(data)
    assert reader.bytes_read == len(data)
    if out:
        assert reader.message_end == out[-1].end == len(data)


def test_the_buffer_may_be_used_again_at_once() -> None:
    data = write_message(9, 1, 0, b"first" * 100, chunk_size=128, csid=6)
    buffer = bytearray(data)
    reader, out = ChunkReader(), []
    reader.read(memoryview(buffer)[:200], out)
    buffer[:200] = bytes(200)
    reader.read(data[200:], out)
    assert out[0].payload == b"first" * 100


def test_interleaved_messages_end_in_the_order_they_are_whole() -> None:
    video = write_message(9, 1, 40, b"v" * 300, chunk_size=128, csid=6)
    audio = write_message(8, 1, 45, b"a" * 10, chunk_size=128, csid=4)
    first_chunk = 12 + 128
    out = read(video[:first_chunk] + audio + video[first_chunk:])
    assert [(message.type_id, len(message.payload)) for message in out] == [(8, 10), (9, 300)]
    assert [message.end for message in out] == [first_chunk + len(audio), len(video) + len(audio)]


def test_abort_forgets_what_was_begun() -> None:
    begun = write_message(9, 1, 40, b"v" * 300, chunk_size=128, csid=6)[: 12 + 128]
    abort = write_message(2, 0, 0, (6).to_bytes(4, "big"), chunk_size=128, csid=2)
    fresh = write_message(9, 1, 80, b"new", chunk_size=128, csid=6)
    assert shorts(read(begun + abort + fresh))[1:] == [(9, 1, 80, b"new")]


def test_a_new_header_in_the_middle_of_a_message_gives_that_message_up() -> None:
    begun = write_message(9, 1, 40, b"v" * 300, chunk_size=128, csid=6)[: 12 + 128]
    fresh = write_message(9, 1, 80, b"new", chunk_size=128, csid=6)
    assert shorts(read(begun + fresh)) == [(9, 1, 80, b"new")]


def set_chunk_size(size: int) -> bytes:
    return write_message(1, 0, 0, size.to_bytes(4, "big"), chunk_size=128, csid=2)


@pytest.mark.parametrize("size", [0, 1, 127, 1 << 31, (1 << 32) - 1])
def test_chunk_sizes_that_are_refused(size: int) -> None:
    with pytest.raises(LimitError) as caught:
        read(set_chunk_size(size))
    assert caught.value.limit == "chunk_size"


@pytest.mark.parametrize(("size", "used"), [(128, 128), (65536, 65536), ((1 << 31) - 1, 4 * 1024**2)])
def test_chunk_sizes_that_are_taken_or_clamped(size: int, used: int) -> None:
    reader = ChunkReader()
    reader.read(set_chunk_size(size), [])
    assert reader.chunk_size == used


def header(type_id: int, length: int, csid: int = 6) -> bytes:
    return bytes((csid,)) + bytes(3) + length.to_bytes(3, "big") + bytes((type_id,)) + bytes(4)


@pytest.mark.parametrize(("type_id", "most"), [(8, 1000), (9, 2000), (20, 500), (18, 500)])
def test_a_message_over_its_limit_is_refused_when_announced(type_id: int, most: int) -> None:
    limits = RtmpLimits(audio_message_bytes=1000, video_message_bytes=2000, command_message_bytes=500)
    assert read(header(type_id, most), limits) == []
    with pytest.raises(LimitError) as caught:
        read(header(type_id, most + 1), limits)
    assert caught.value.limit == "message_size"


def test_the_number_of_chunk_streams_is_limited() -> None:
    limits = RtmpLimits(chunk_streams=3)
    data = b"".join(header(8, 0, csid) for csid in (3, 4, 5))
    assert len(read(data, limits)) == 3
    with pytest.raises(LimitError) as caught:
        read(data + header(8, 0, 6), limits)
    assert caught.value.limit == "chunk_streams"


def test_half_sent_messages_are_limited_by_what_arrived() -> None:
    limits = RtmpLimits(partial_bytes=300)
    started = b"".join(header(9, 100_000, csid) + bytes(100) for csid in (3, 4))
    reader = ChunkReader(limits)
    reader.read(started[:-100], [])
    with pytest.raises(LimitError) as caught:
        read(b"".join(header(9, 100_000, csid) + bytes(128) for csid in (3, 4, 5)), limits)
    assert caught.value.limit == "partial_bytes"


@pytest.mark.parametrize("wire", ["84 000000", "c4"])
def test_a_first_header_that_refers_to_none_is_an_error(wire: str) -> None:
    with pytest.raises(ProtocolError, match="refers to an earlier one"):
        read(bytes.fromhex(wire))


@given(st.binary(max_size=400), cuts)
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes, sizes: list[int]) -> None:
    reader, out = ChunkReader(), []
    try:
        for piece in pieces(data, sizes):
            reader.read(piece, out)
    except ProtocolError:
        return


@given(st.sampled_from(SESSIONS), cuts)
def test_a_real_session_cut_anywhere(name: str, sizes: list[int]) -> None:
    data = chunks_of(name)
    reader, out = ChunkReader(), []
    for piece in pieces(data, sizes):
        reader.read(piece, out)
    assert out == read(data)
    assert sum(message.type_id in (8, 9) for message in out) > 20
    assert {message.type_id for message in out} <= {1, 3, 4, 5, 8, 9, 18, 20}


@given(st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_no_more_messages_are_read_at_once_than_asked_for_and_none_gets_lost(at_once: int, sizes: list[int]) -> None:
    """Empty ones, of a byte each, and such that are cut: together as if all had been read at once."""
    wire = write_message(7, 1, 0, b"", chunk_size=128, csid=5) + b"\xc5" * 9
    wire += write_message(9, 1, 7, bytes(300), chunk_size=128, csid=6) + b"\xc5" * 3
    whole: list[Message] = []
    ChunkReader().read(wire, whole)
    assert len(whole) == 14
    reader = ChunkReader(at_once=at_once)
    found: list[Message] = []
    for piece in pieces(wire, sizes):
        out: list[Message] = []
        reader.read(piece, out)
        while True:
            assert len(out) <= at_once
            found += out
            if not reader.has_more:
                break
            reader.read(b"", out := [])
    assert found == whole
    assert (reader.bytes_read, reader.message_end) == (len(wire), len(wire))
