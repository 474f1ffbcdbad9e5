"""ClientConnection: publishing and playing, servers that refuse, end, or leave things out."""

import pytest
from hypothesis import given

from relay.errors import LimitError
from relay.protocol.amf0 import encode
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message, write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.limits import RtmpLimits
from relay.protocol.rtmp.state import ClientState
from tests.protocol.captures import cuts
from tests.protocol.rtmp.machines import Origin, Peer, Platform, run
from tests.protocol.rtmp.peers import Pair, make_client, nonce

SERVER_BYTES = b"\x03" + bytes(8) + nonce("s")[8:1536] + bytes(1536)


def answer(*values: object, stream_id: int = 0) -> bytes:
    return write_message(20, stream_id, 0, encode(*values), chunk_size=128, csid=3)  # type: ignore[arg-type]


def shaken(mode: str = "publish") -> ClientConnection:
    client = make_client(mode)
    client.receive(SERVER_BYTES, 0.0)
    return client


RESULT = answer("_result", 1, {"fmsVer": "x"}, {"code": "NetConnection.Connect.Success", "level": "status"})
CREATED = answer("_result", 4, None, 7)
START = answer("onStatus", 0, None, {"level": "status", "code": "NetStream.Publish.Start"}, stream_id=7)


@given(cuts)
def test_a_play_brings_media_and_metadata_however_cut(sizes: list[int]) -> None:
    pair = Pair(make_client("play"), sizes=sizes)
    pair.run()
    assert pair.client.state is ClientState.LIVE
    metadata = write_message(18, 1, 0, encode("onMetaData", {"width": 640}), chunk_size=60_000, csid=5)
    video = write_message(9, 1, 40, b"\x17\x01\0\0\0frame" * 50, chunk_size=60_000, csid=6)
    pair._give(pair.client, metadata + video, pair.at_client)
    assert pair.client_saw(events.MetadataReceived) == [events.MetadataReceived(1, {"width": 640.0})]
    (message,) = pair.client_saw(Message)
    assert isinstance(message, Message)
    assert (message.timestamp, len(message.payload)) == (40, 500)


def test_the_phases_of_a_publish() -> None:
    client = make_client()
    assert client.state is ClientState.HANDSHAKE
    client.receive(SERVER_BYTES, 0.0)
    assert client.state is ClientState.CONNECT
    assert b"connect" in client.data_to_send()
    client.receive(RESULT, 0.0)
    assert client.state is ClientState.PUBLISH
    sent = client.data_to_send()
    assert sent.index(b"releaseStream") < sent.index(b"FCPublish") < sent.index(b"createStream")
    # Servers that do not know the first two answer with errors; it does not matter.
    assert client.receive(answer("_error", 2, None, {"code": "NetConnection.Call.Failed"}), 0.0) == []
    client.receive(CREATED, 0.0)
    assert b"publish" in client.data_to_send()
    assert client.receive(START, 0.0) == [events.Established(7)]
    assert (client.state, client.stream_id) == (ClientState.LIVE, 7)
    client.unpublish()
    assert b"FCUnpublish" in client.data_to_send()
    assert client.receive(START, 0.0) == []


@pytest.mark.parametrize(
    ("reply", "code", "final"),
    [
        (answer("_error", 1, None, {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "no"}),
         "NetConnection.Connect.Rejected", True),
        (answer("_error", 1, None, {"level": "error", "code": "X.Busy", "description": "later"}), "X.Busy", False),
        (RESULT + CREATED + answer("onStatus", 0, None, {"level": "error", "code": "NetStream.Publish.BadName"}),
         "NetStream.Publish.BadName", True),
        (RESULT + CREATED + answer("onStatus", 0, None, {
            "level": "error", "code": "NetStream.Publish.BadName", "description": "Already publishing"}),
         "NetStream.Publish.BadName", False),
        (RESULT + answer("_error", 4, None, "nonsense"), "error", False),
    ],
)  # fmt: skip
def test_refusals(reply: bytes, code: str, final: bool) -> None:
    (rejected,) = shaken().receive(reply, 0.0)
    assert isinstance(rejected, events.Rejected)
    assert (rejected.code, rejected.final) == (code, final)


@pytest.mark.parametrize(
    "goodbye",
    [
        answer("onStatus", 0, None, {"level": "error", "code": "NetStream.Failed", "description": "over"}),
        answer("onStatus", 0, None, {"level": "status", "code": "NetStream.Unpublish.Success"}),
        answer("close", 0, None),
    ],
)
def test_a_server_that_ends_the_stream_is_heard(goodbye: bytes) -> None:
    client = shaken()
    client.receive(RESULT + CREATED + START, 0.0)
    (ended,) = client.receive(goodbye, 0.0)
    assert isinstance(ended, events.Ended)
    assert client.state is ClientState.CLOSED


def test_enhanced_fields_can_be_left_out_for_platforms_that_choke_on_them() -> None:
    for enhanced in (True, False):
        client = make_client(enhanced=enhanced)
        client.receive(SERVER_BYTES, 0.0)
        assert (b"fourCcList" in client.data_to_send()) == enhanced


def test_windows_are_acknowledged_halfway_and_pings_answered() -> None:
    client = shaken("play")
    client.receive(RESULT, 0.0)
    client.data_to_send()
    client.receive(write_message(5, 0, 0, (2000).to_bytes(4, "big"), chunk_size=128, csid=2), 0.0)
    client.data_to_send()
    client.receive(write_message(4, 0, 0, b"\0\x06\0\0\0\x05", chunk_size=128, csid=2), 0.0)
    assert client.data_to_send().endswith(b"\0\x07\0\0\0\x05")
    client.receive(write_message(18, 0, 0, encode("x" * 1500), chunk_size=128, csid=5), 0.0)
    assert client.data_to_send()[-4:] == client.received.to_bytes(4, "big")


@pytest.mark.parametrize("peer", [Platform, Origin])
def test_any_answer_in_any_order_raises_nothing_but_protocol_errors(peer: type[Peer]) -> None:
    run(peer, 30)


PING = write_message(4, 0, 0, b"\0\x06\0\0\0\x05", chunk_size=128, csid=2)
ACK = write_message(3, 0, 0, bytes(4), chunk_size=128, csid=2)


@pytest.mark.parametrize("mode", ["publish", "play"])
@pytest.mark.parametrize("flood", [PING, answer("onBWDone", 0, None)], ids=["pings", "commands"])
def test_a_server_that_floods_is_left(flood: bytes, mode: str) -> None:
    """Each of them wants an answer or a look: no more than the settings say."""
    client = shaken(mode)
    for _ in range(200):
        client.receive(flood, 0.0)
    with pytest.raises(LimitError) as caught:
        client.receive(flood, 0.0)
    assert caught.value.limit == "commands"
    slow = shaken(mode)
    for number in range(1000):
        slow.receive(flood, number / 40)
        slow.data_to_send()


@pytest.mark.parametrize("mode", ["publish", "play"])
def test_a_server_that_talks_instead_of_taking_the_stream_is_left(mode: str) -> None:
    client = shaken(mode)
    client.receive(RESULT, 0.0)
    talk = write_message(18, 0, 0, bytes(30_000), chunk_size=128, csid=5)
    client.receive(talk, 0.0)
    client.receive(talk, 1.0)
    with pytest.raises(LimitError) as caught:
        client.receive(talk, 2.0)
    assert caught.value.limit == "pre_auth_bytes"


def test_what_follows_the_start_of_a_play_at_once_is_no_talk() -> None:
    client = shaken("play")
    client.receive(RESULT + CREATED, 0.0)
    start = answer("onStatus", 0, None, {"level": "status", "code": "NetStream.Play.Start"}, stream_id=7)
    video = write_message(9, 7, 0, b"\x17\x01" + bytes(200_000), chunk_size=128, csid=6)
    assert [type(event) for event in client.receive(start + video, 0.0)] == [events.Established, Message]


def test_a_destination_may_acknowledge_but_not_send_media() -> None:
    client = shaken()
    client.receive(RESULT + CREATED + START, 0.0)
    for tick in range(600):  # a minute of one for each message of a busy stream
        client.receive(ACK * 20, tick / 10)
    client.data_to_send()
    video = write_message(9, 7, 0, bytes(30_000), chunk_size=128, csid=6)
    assert client.receive(video, 60.0) == client.receive(video, 60.1) == []
    with pytest.raises(LimitError, match="over 65536 bytes a second") as caught:
        client.receive(video, 60.2)
    assert caught.value.limit == "answer_bytes"


def test_a_source_may_send_media_but_talk_no_more_than_others() -> None:
    """Seen taking the event loop: 1 GB of Acknowledgements, each of which is read and thrown away."""
    client = shaken("play")
    start = answer("onStatus", 0, None, {"level": "status", "code": "NetStream.Play.Start"}, stream_id=7)
    client.receive(RESULT + CREATED + start, 0.0)
    video = write_message(9, 7, 0, bytes(1_000_000), chunk_size=128, csid=6)
    for tick in range(20):
        assert len(client.receive(video, tick / 10)) == 1
    client.receive(ACK * 2000, 2.0)
    with pytest.raises(LimitError, match="over 65536 bytes a second"):
        client.receive(ACK * 3000, 2.0)


def test_limits_hold_for_servers_too() -> None:
    client = make_client(limits=RtmpLimits(commands_burst=10, command_message_bytes=4096))
    client.receive(SERVER_BYTES, 0.0)
    with pytest.raises(LimitError, match="4096 allowed"):
        client.receive(write_message(20, 0, 0, bytes(5000), chunk_size=128, csid=3), 0.0)


def test_a_redirect_is_told_and_not_followed() -> None:
    away = {
        "level": "error",
        "code": "NetConnection.Connect.Rejected",
        "description": "moved",
        "ex": {"code": 302.0, "redirect": "rtmp://127.0.0.1:22/live"},
    }
    (rejected,) = shaken().receive(answer("_error", 1, None, away), 0.0)
    assert isinstance(rejected, events.Rejected)
    assert rejected.final
    assert rejected.description == "it sends on to another address, which is not followed: moved"
