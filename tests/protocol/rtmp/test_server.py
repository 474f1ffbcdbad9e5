"""ServerConnection: whole conversations, real encoders replayed, refusals, limits, any command in any order."""

import pytest
from hypothesis import given

from relay.errors import LimitError, ProtocolError
from relay.protocol.amf0 import decode, encode
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import ChunkReader, Message, write_message
from relay.protocol.rtmp.connection import OUT_CHUNK_SIZE
from relay.protocol.rtmp.limits import RtmpLimits
from relay.protocol.rtmp.server import MAX_STREAMS, ServerConnection
from relay.protocol.rtmp.state import ServerState
from tests.protocol.captures import SESSIONS, cuts, pieces, session
from tests.protocol.rtmp.machines import PublisherOrPlayer, run
from tests.protocol.rtmp.peers import Pair, make_client, make_server, nonce

HANDSHAKE = b"\x03" + bytes(8) + nonce("c")[8:1536] + bytes(1536)


def command(*values: object, stream_id: int = 0) -> bytes:
    return write_message(20, stream_id, 0, encode(*values), chunk_size=128, csid=3)  # type: ignore[arg-type]


CONNECT = command("connect", 1, {"app": "live", "tcUrl": "rtmp://h/live", "flashVer": "test"})


def ready(limits: RtmpLimits | None = None) -> ServerConnection:
    server = make_server(limits)
    server.receive(HANDSHAKE + CONNECT, 0.0)
    server.data_to_send()
    return server


def said(server: ServerConnection, chunk_size: int = OUT_CHUNK_SIZE) -> list[list[object]]:
    """The commands the server has queued, decoded."""
    reader, out = ChunkReader(), []
    reader._chunk_size = chunk_size
    reader.read(server.data_to_send(), out)
    return [list(decode(message.payload)) for message in out if message.type_id == 20]


@given(cuts)
def test_a_publish_from_first_to_last_byte_however_cut(sizes: list[int]) -> None:
    pair = Pair(make_client(), sizes=sizes)
    pair.run()
    assert pair.server.state is ServerState.PUBLISHING
    (connected,) = pair.server_saw(events.Connected)
    (asked,) = pair.server_saw(events.PublishRequested)
    assert isinstance(connected, events.Connected)
    assert (connected.app, connected.tc_url) == ("live", "rtmp://h/live")
    assert isinstance(asked, events.PublishRequested)
    assert (asked.name, asked.kind) == ("KEY", "live")
    assert pair.client_saw(events.Established) == [events.Established(1)]
    pair.client.unpublish()
    pair.run()
    assert pair.server_saw(events.Unpublished) == [events.Unpublished(1)]
    assert pair.server.state is ServerState.CONNECTED


@pytest.mark.parametrize("name", SESSIONS)
@given(sizes=cuts)
def test_real_encoders_replayed_in_any_cuts(name: str, sizes: list[int]) -> None:
    server, got = make_server(), []
    for piece in pieces(session(name), sizes):
        for event in server.receive(piece, 0.0):
            got.append(event)
            if isinstance(event, events.PublishRequested):
                assert event.name == "the-key"
                got += server.accept_publish(event.stream_id)
    kinds = [type(event) for event in got]
    assert kinds[0] is events.Connected
    assert kinds.count(events.MetadataReceived) == 1
    media = [event for event in got if isinstance(event, Message)]
    assert len(media) > 20
    assert {message.type_id for message in media} == {8, 9}
    assert kinds[-1] is events.Unpublished
    assert server.message_end == server.received == len(session(name)) - 1 - 2 * 1536


def test_rtmpdump_asks_to_play_what_its_user_named() -> None:
    server, got = make_server(), []
    for event in server.receive(session("rtmpdump_play"), 0.0):
        got.append(event)
    (asked,) = [event for event in got if isinstance(event, events.PlayRequested)]
    assert asked.name == "demo?key=read-key"


def test_media_sent_before_the_answer_is_kept_for_it_and_not_given_without_it() -> None:
    server = ready()
    video = write_message(9, 1, 0, b"\x17\x01\0\0\0frame", chunk_size=128, csid=6)
    asked = server.receive(video + command("publish", 0, None, "KEY", "live", stream_id=1) + video, 0.0)
    assert [type(event) for event in asked] == [events.PublishRequested]
    held = server.accept_publish(1)
    assert [event.payload for event in held if isinstance(event, Message)] == [b"\x17\x01\0\0\0frame"]
    refused = ready()
    refused.receive(command("publish", 0, None, "KEY", "live", stream_id=1) + video, 0.0)
    refused.refuse_publish(1, "wrong key")
    assert refused.receive(video, 0.0) == []


def test_a_refusal_is_an_error_status_on_the_stream_in_our_words() -> None:
    server = ready()
    server.receive(command("publish", 0, None, "KEY", "live", stream_id=1), 0.0)
    server.refuse_publish(1, "wrong stream key")
    (status,) = said(server)
    assert status[3] == {"level": "error", "code": "NetStream.Publish.BadName", "description": "wrong stream key"}
    server.receive(command("play", 0, None, "demo", stream_id=1), 0.0)
    server.refuse_play(1, "not live")
    (status,) = said(server)
    assert status[3] == {"level": "error", "code": "NetStream.Play.StreamNotFound", "description": "not live"}


@pytest.mark.parametrize("name", ["releaseStream", "FCPublish", "_checkbw", "getStreamLength", "createStream"])
def test_librtmp_gets_the_results_it_waits_for(name: str) -> None:
    server = ready()
    server.receive(command(name, 7, None, "KEY"), 0.0)
    results = [values for values in said(server) if values[0] == "_result"]
    assert [values[1] for values in results] == [7]


def test_enhanced_fields_are_answered_only_to_clients_that_send_them() -> None:
    for properties, expected in (
        ({"app": "live"}, set()),
        ({"app": "live", "fourCcList": ["hvc1"]}, {"fourCcList"}),
        (
            {"app": "live", "fourCcList": ["*"], "capsEx": 3},
            {"fourCcList", "capsEx", "videoFourCcInfoMap", "audioFourCcInfoMap"},
        ),
    ):
        server = make_server()
        server.receive(HANDSHAKE, 0.0)
        server.data_to_send()
        server.receive(command("connect", 1, properties), 0.0)
        (result,) = said(server, 128)
        answered = set(result[2])  # type: ignore[call-overload]
        assert answered - {"fmsVer", "capabilities", "mode"} == expected


def test_pings_are_answered_and_acknowledgements_sent_when_asked_for() -> None:
    server = ready()
    ping = write_message(4, 0, 0, b"\0\x06\0\0\0\x2a", chunk_size=128, csid=2)
    server.receive(ping, 0.0)
    assert server.data_to_send().endswith(b"\0\x07\0\0\0\x2a")
    server.acknowledge(2**32 + 7)
    assert server.data_to_send().endswith(b"\0\0\0\x07")
    server.receive(write_message(5, 0, 0, b"\0\x26\x25\xa0", chunk_size=128, csid=2), 0.0)
    assert server.peer_window == 2_500_000


def test_a_play_is_begun_ended_and_stopped() -> None:
    pair = Pair(make_client("play"))
    pair.run()
    assert pair.server.state is ServerState.PLAYING
    pair.server.end_play(1)
    pair.run()
    (ended,) = pair.client_saw(events.Ended)
    assert isinstance(ended, events.Ended)
    assert ended.code == "NetStream.Play.UnpublishNotify"


def test_closing_tells_a_publisher_why() -> None:
    pair = Pair(make_client())
    pair.run()
    pair.server.close("the relay is shutting down")
    pair.run()
    (ended,) = pair.client_saw(events.Ended)
    assert isinstance(ended, events.Ended)
    assert ended.description == "the relay is shutting down"


def test_limits_at_their_edges() -> None:
    server = ready(RtmpLimits(commands_per_s=1, commands_burst=5))
    for _ in range(4):
        server.receive(command("_checkbw", 0, None), 0.0)
    with pytest.raises(LimitError) as caught:
        server.receive(command("_checkbw", 0, None), 0.0)
    assert caught.value.limit == "commands"
    server.receive(command("_checkbw", 0, None), 1.0)

    server = ready(RtmpLimits(pre_auth_bytes=8192))
    video = write_message(9, 1, 0, bytes(1000), chunk_size=128, csid=6)
    for _ in range(7):
        server.receive(video, 0.0)
    with pytest.raises(LimitError) as caught:
        server.receive(video, 0.0)
    assert caught.value.limit == "pre_auth_bytes"

    # Without a key everything costs as much as a command, also what would be nothing but skipped.
    server = ready(RtmpLimits(commands_burst=20, commands_per_s=1))
    start = write_message(7, 0, 0, b"", chunk_size=128, csid=5)
    server.receive(start + b"\xc5" * 18, 0.0)
    with pytest.raises(LimitError) as caught:
        server.receive(b"\xc5", 0.0)
    assert caught.value.limit == "commands"

    # With one, media, data and acknowledgements are free; pings, which want an answer, are not.
    server = ready(RtmpLimits(commands_burst=20, commands_per_s=1))
    server.receive(command("publish", 0, None, "KEY", "live", stream_id=1), 0.0)
    server.accept_publish(1)
    free = [(8, b"\xaf\x01x"), (9, b""), (18, encode("onTextData", {})), (3, bytes(4))]
    for type_id, payload in free:
        server.receive(write_message(type_id, 1, 0, payload, chunk_size=128, csid=6) * 100, 0.0)
    ping = write_message(4, 0, 0, b"\x00\x06" + bytes(4), chunk_size=128, csid=2)
    server.receive(ping * 18, 0.0)
    with pytest.raises(LimitError) as caught:
        server.receive(ping, 0.0)
    assert caught.value.limit == "commands"

    server = ready()
    for _ in range(MAX_STREAMS):
        server.receive(command("createStream", 1, None), 0.0)
    with pytest.raises(LimitError) as caught:
        server.receive(command("createStream", 1, None), 0.0)
    assert caught.value.limit == "streams"


@pytest.mark.parametrize(
    "first", [command("createStream", 2, None), command("publish", 0, None, "KEY"), command("connect", 1, None)]
)
def test_commands_before_a_proper_connect_end_the_connection(first: bytes) -> None:
    with pytest.raises(ProtocolError):
        make_server().receive(HANDSHAKE + first, 0.0)


def test_one_publish_at_a_time() -> None:
    server = ready()
    publish = command("publish", 0, None, "KEY", "live", stream_id=1)
    server.receive(publish, 0.0)
    server.accept_publish(1)
    with pytest.raises(ProtocolError, match="one at a time"):
        server.receive(publish, 0.0)


def test_any_command_in_any_order_raises_nothing_but_protocol_errors() -> None:
    run(PublisherOrPlayer, 40)
