"""Packets as messages: read back as they were, headers where tracks change, bytes that stand alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.media import Codec, Packet, Track
from relay.media.timeline import Timeline
from relay.protocol import flv
from relay.protocol.amf0 import decode
from relay.protocol.flv import TagReader
from relay.protocol.rtmp.chunk import ChunkReader, Message
from relay.protocol.rtmp.media import encode_batch, header_messages, metadata_message
from tests.protocol.captures import FILES, flv_file
from tests.protocol.flv_files import packets_of
from tests.protocol.flv_tables import AAC, AVC

VIDEO = Track(codec=Codec.H264, header=AVC)
AUDIO = Track(codec=Codec.AAC, header=AAC)


def read(data: bytes, chunk_size: int) -> list[Message]:
    reader, out = ChunkReader(), []
    reader._chunk_size = chunk_size
    reader.read(data, out)
    return out


@pytest.mark.parametrize("chunk_size", [128, 4096, 60_000])
@pytest.mark.parametrize("name", FILES)
def test_real_media_comes_back_packet_for_packet(name: str, chunk_size: int) -> None:
    packets = packets_of(TagReader().feed(flv_file(name)))
    messages = read(encode_batch(packets, (None, None), chunk_size, 1), chunk_size)
    depacketizer = flv.Depacketizer(Timeline())
    again = [depacketizer.feed(message.type_id, message.timestamp, message.payload) for message in messages]
    assert [packet[1:] for packet in again if packet is not None] == [packet[1:] for packet in packets]
    assert {message.stream_id for message in messages} == {1}


@given(st.integers(0, 2**33), st.integers(0, 2**24))
def test_times_beyond_24_and_32_bits(start: int, step: int) -> None:
    packets = [Packet(AUDIO, start, start, True, b"a"), Packet(AUDIO, start + step, start + step, True, b"b")]
    messages = read(encode_batch(packets, (None, AUDIO), 60_000, 1), 60_000)
    assert [message.timestamp for message in messages] == [start % 2**32, (start + step) % 2**32]


def test_headers_come_where_tracks_change_and_only_there() -> None:
    turned = Track(codec=Codec.H264, header=AVC + b"\0")
    packets = [
        Packet(VIDEO, 0, 0, True, b"v"),
        Packet(AUDIO, 5, 5, True, b"a"),
        Packet(VIDEO, 33, 33, False, b"v"),
        Packet(turned, 66, 66, True, b"t"),
    ]
    bodies = [message.payload for message in read(encode_batch(packets, (VIDEO, None), 60_000, 1), 60_000)]
    assert [body[:2].hex() for body in bodies] == ["1701", "af00", "af01", "2701", "1700", "1701"]


def test_opening_messages() -> None:
    headers = read(header_messages((VIDEO, AUDIO), 77, 60_000, 1), 60_000)
    assert [(message.type_id, message.timestamp) for message in headers] == [(9, 77), (8, 77)]
    (metadata,) = read(metadata_message({"framerate": 30.0}, (VIDEO, AUDIO), 60_000, 1, publishing=True), 60_000)
    values = decode(metadata.payload)
    assert values[:2] == ["@setDataFrame", "onMetaData"]
    (metadata,) = read(metadata_message({}, (VIDEO, None), 60_000, 1, publishing=False), 60_000)
    assert decode(metadata.payload)[0] == "onMetaData"
