"""What both roles share: counters behind the handshake, control messages, metadata, aggregates."""

import pytest

from relay.errors import ProtocolError
from relay.protocol.amf0 import encode
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message, write_message
from tests.protocol.rtmp.peers import Pair, make_client
from tests.protocol.rtmp.test_message import packed


def publishing() -> Pair:
    pair = Pair(make_client())
    pair.run()
    pair.at_server.clear()
    return pair


def chunks(type_id: int, payload: bytes, timestamp: int = 0) -> bytes:
    return write_message(type_id, 1, timestamp, payload, chunk_size=60_000, csid=5)


def test_counters_leave_out_the_handshake_and_what_is_not_whole() -> None:
    pair = publishing()
    before = pair.server.received
    assert pair.server.message_end == before
    audio = chunks(8, b"\xaf\x01abc")
    pair.server.receive(audio + audio[:7], 0.0)
    assert pair.server.received == before + len(audio) + 7
    assert pair.server.message_end == before + len(audio)


def test_metadata_with_and_without_set_data_frame_and_by_amf3() -> None:
    pair = publishing()
    for type_id, payload in (
        (18, encode("@setDataFrame", "onMetaData", {"width": 640})),
        (18, encode("onMetaData", {"width": 640})),
        (15, b"\0" + encode("onMetaData", {"width": 640})),
    ):
        (event,) = pair.server.receive(chunks(type_id, payload), 0.0)
        assert event == events.MetadataReceived(1, {"width": 640.0})
    for payload in (encode("onTextData", {"text": "x"}), encode("onMetaData"), encode(5)):
        assert pair.server.receive(chunks(18, payload), 0.0) == []


def test_aggregates_are_taken_apart() -> None:
    pair = publishing()
    got = pair.server.receive(chunks(22, packed([(9, 100, b"\x27\x01abcd"), (8, 120, b"\xaf\x01x")]), 5000), 0.0)
    assert [(item.type_id, item.timestamp) for item in got if isinstance(item, Message)] == [(9, 5000), (8, 5020)]


def test_acknowledgements_and_pongs_are_told_and_short_ones_are_errors() -> None:
    pair = publishing()
    assert pair.server.receive(chunks(3, b"\0\0\0\x09"), 0.0) == [events.Acknowledged(9)]
    pair.server.ping(77)
    pair.run()
    assert pair.server_saw(events.PongReceived) == [events.PongReceived(77)]
    with pytest.raises(ProtocolError, match="Acknowledgement"):
        pair.server.receive(chunks(3, b"\0"), 0.0)
