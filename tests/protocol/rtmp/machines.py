"""Peers that say anything in any order, as hypothesis state machines: one against each role's connection.

Whatever they do, a connection raises the protocol's own errors and nothing else, and what it says itself can be read.
A connection that ended is followed by a fresh one, so that a sequence may hold several.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay.errors import ProtocolError
from relay.protocol.amf0 import UNDEFINED, AmfDate, AmfValue, EcmaArray, decode, encode
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import ChunkReader, Message, write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.connection import Connection
from relay.protocol.rtmp.server import ServerConnection
from relay.protocol.rtmp.state import CLIENT, SERVER, ClientState, ServerState
from tests.protocol.rtmp.peers import make_client, make_server, nonce

HANDSHAKE = b"\x03" + bytes(8) + nonce("c")[8:1536] + bytes(1536)

SERVER_NAMES = (
    "connect", "createStream", "publish", "play", "play2", "deleteStream", "closeStream", "FCPublish", "FCUnpublish",
    "FCSubscribe", "releaseStream", "_checkbw", "getStreamLength", "pause", "seek", "receiveAudio", "@setDataFrame",
)  # fmt: skip
CLIENT_NAMES = ("_result", "_error", "onStatus", "onBWDone", "onFCPublish", "close", "call")
CODES = (
    "NetConnection.Connect.Success", "NetConnection.Connect.Rejected", "NetConnection.Connect.Closed",
    "NetStream.Publish.Start", "NetStream.Publish.BadName", "NetStream.Play.Start", "NetStream.Unpublish.Success",
    "NetStream.Play.UnpublishNotify", "NetStream.Failed", "",
)  # fmt: skip

numbers = st.floats() | st.integers(-(2**40), 2**40) | st.sampled_from([0, 1, 2, 4, 5, 2.0**63, 2.0**1023])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["live", "key", "x" * 3000])
leaves = (
    st.none()
    | st.booleans()
    | numbers
    | texts
    | st.just(UNDEFINED)
    | st.builds(AmfDate, st.floats(), st.integers(-(2**15), 2**15 - 1))
)
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts, inner, max_size=3)
        | st.dictionaries(texts, inner, max_size=3).map(EcmaArray)
    ),
    max_leaves=6,
)
information = st.fixed_dictionaries(
    {"code": st.sampled_from(CODES) | values, "level": st.sampled_from(["status", "error", "warning"]) | values},
    optional={"description": values},
)
PROPERTIES = ("app", "tcUrl", "flashVer", "objectEncoding", "fourCcList", "capsEx", "videoFourCcInfoMap")
properties = st.fixed_dictionaries({}, optional=dict.fromkeys(PROPERTIES, values))
stream_ids = st.sampled_from([0, 1, 1, 2, 9, 2**32 - 1])
bodies = st.binary(max_size=40)


class Peer(RuleBasedStateMachine):
    """What both roles hear; ``make`` gives a connection behind its handshake, ``names`` what commands are called."""

    make: Callable[[], Connection]
    names: tuple[str, ...] = ()

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.fresh()

    def fresh(self) -> None:
        self.connection = type(self).make()
        self.chunk_size = 128
        self.reader: ChunkReader | None = None
        self.skip = 1 + 2 * 1536
        self.heard: list[Message] = []
        self.do(lambda: self.connection.receive(HANDSHAKE, self.now))

    def do(self, action: Callable[[], list[events.Event] | None]) -> None:
        """``action``; after a protocol error the connection is over, and the next one begins."""
        reason = None
        try:
            self.happened(action() or [])
        except ProtocolError as error:
            reason = str(error)
        self.listen()
        if reason is not None:
            assert reason, "an end without a reason"
            self.fresh()

    def happened(self, found: list[events.Event]) -> None:
        """For the roles: note what was reported."""

    def listen(self) -> None:
        """Everything the connection says is read by a reader as strict as ours."""
        said = self.connection.data_to_send()
        if self.skip:
            said, self.skip = said[self.skip :], max(0, self.skip - len(said))
        if said:
            self.reader = self.reader or ChunkReader()
            self.heard.clear()
            self.reader.read(said, self.heard)
            for message in self.heard:
                if message.type_id in (18, 20):
                    assert isinstance(decode(message.payload)[0], str)

    def send(self, type_id: int, stream_id: int, payload: bytes) -> None:
        data = write_message(type_id, stream_id, 0, payload, chunk_size=self.chunk_size, csid=3)
        if type_id == 1 and len(payload) >= 4:
            self.chunk_size = int.from_bytes(payload[:4], "big") or 1
        self.do(lambda: self.connection.receive(data, self.now))

    # --- what a peer may do -----------------------------------------------------------------------------------

    @rule(name=values, more=st.lists(values, max_size=5), type_id=st.sampled_from([20, 17]), stream_id=stream_ids)
    def says_anything(self, name: AmfValue, more: list[AmfValue], type_id: int, stream_id: int) -> None:
        self.send(type_id, stream_id, encode(name, *more))

    @rule(data=st.data(), more=st.lists(values, max_size=4), stream_id=stream_ids)
    def says_what_is_known(self, data: st.DataObject, more: list[AmfValue], stream_id: int) -> None:
        name = data.draw(st.sampled_from(type(self).names))
        self.send(20, stream_id, encode(name, *more))

    @rule(type_id=st.sampled_from([17, 20, 15, 18]), body=bodies, stream_id=stream_ids)
    def says_what_is_no_command(self, type_id: int, body: bytes, stream_id: int) -> None:
        self.send(type_id, stream_id, body)

    @rule(metadata=values, framed=st.booleans(), type_id=st.sampled_from([15, 18]))
    def describes(self, metadata: AmfValue, framed: bool, type_id: int) -> None:
        before = ("@setDataFrame",) if framed else ()
        self.send(type_id, 1, encode(*before, "onMetaData", metadata))

    @rule(type_id=st.sampled_from([8, 9, 22]), body=bodies, stream_id=stream_ids)
    def sends_media(self, type_id: int, body: bytes, stream_id: int) -> None:
        self.send(type_id, stream_id, body)

    @rule(type_id=st.sampled_from([1, 2, 3, 4, 5, 6, 0, 7, 16, 19, 99]), body=st.binary(max_size=12))
    def controls(self, type_id: int, body: bytes) -> None:
        self.send(type_id, 0, body)

    @rule(size=st.sampled_from([0, 1, 127, 128, 4096, 2**31 - 1, 2**31, 2**32 - 1]))
    def sets_chunk_size(self, size: int) -> None:
        self.send(1, 0, size.to_bytes(4, "big"))

    @rule(raw=bodies)
    def sends_what_is_no_chunk(self, raw: bytes) -> None:
        self.do(lambda: self.connection.receive(raw, self.now))
        # Nobody knows where the next chunk begins now.
        self.fresh()

    @rule(seconds=st.floats(0, 30))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(0, 2**33))
    def is_acknowledged_and_pinged(self, count: int) -> None:
        self.connection.acknowledge(count)
        self.connection.ping(count)
        self.listen()


class PublisherOrPlayer(Peer):
    """Against the server's role; requests are answered sometime, rightly or not."""

    make = staticmethod(make_server)
    names = SERVER_NAMES

    def fresh(self) -> None:
        self.asked: events.PublishRequested | events.PlayRequested | None = None
        super().fresh()

    @property
    def server(self) -> ServerConnection:
        assert isinstance(self.connection, ServerConnection)
        return self.connection

    def happened(self, found: list[events.Event]) -> None:
        for event in found:
            if isinstance(event, events.PublishRequested | events.PlayRequested):
                assert self.server.state is ServerState.DECIDING
                self.asked = event
            if isinstance(event, Message):
                assert event.type_id in (8, 9)
                assert self.server.state in (ServerState.PUBLISHING, ServerState.CONNECTED, ServerState.DECIDING)

    @rule(with_properties=properties)
    def connects(self, with_properties: dict[str, AmfValue]) -> None:
        self.send(20, 0, encode("connect", 1, with_properties))

    @rule(kind=st.sampled_from(["publish", "play"]), name=texts, stream_id=stream_ids)
    def asks(self, kind: str, name: str, stream_id: int) -> None:
        self.send(20, stream_id, encode("createStream", 2, None))
        self.send(20, stream_id, encode(kind, 3, None, name, "live"))

    @precondition(lambda self: self.asked is not None)
    @rule(accepts=st.booleans())
    def is_answered(self, accepts: bool) -> None:
        asked, self.asked = self.asked, None
        assert asked is not None
        server, number = self.server, asked.stream_id
        if isinstance(asked, events.PublishRequested):
            self.do(lambda: server.accept_publish(number) if accepts else server.refuse_publish(number, "no"))
        else:
            self.do(lambda: server.accept_play(number) if accepts else server.refuse_play(number, "no"))

    @rule(what=st.sampled_from(["accept_publish", "accept_play", "end_play"]))
    def is_answered_wrongly(self, what: str) -> None:
        self.asked = None
        self.do(lambda: getattr(self.server, what)(1))

    @rule()
    def is_closed(self) -> None:
        self.server.close("the relay is shutting down")
        assert self.server.state is ServerState.CLOSED
        self.listen()
        self.fresh()

    @invariant()
    def is_somewhere(self) -> None:
        assert self.server.state in SERVER
        assert self.server.handshaken


class Platform(Peer):
    """Against the client's role, publishing."""

    make = staticmethod(make_client)
    names = CLIENT_NAMES
    mode = "publish"

    @property
    def client(self) -> ClientConnection:
        assert isinstance(self.connection, ClientConnection)
        return self.connection

    def happened(self, found: list[events.Event]) -> None:
        for event in found:
            if isinstance(event, events.Established):
                assert self.client.stream_id
            if isinstance(event, events.Rejected | events.Ended):
                assert self.client.state is ClientState.CLOSED
            if isinstance(event, Message | events.MetadataReceived):
                assert self.mode == "play", "a platform we publish to has no media for us"

    @rule(transaction=st.sampled_from([0, 1, 2, 3, 4, 5, 6, -1]) | numbers, first=values, second=information | values)
    def answers(self, transaction: float, first: AmfValue, second: AmfValue) -> None:
        self.send(20, 0, encode("_result", transaction, first, second))

    @rule(transaction=st.sampled_from([1, 2, 3, 4, 5]), what=information | values)
    def refuses(self, transaction: float, what: AmfValue) -> None:
        self.send(20, 0, encode("_error", transaction, None, what))

    @rule(what=information, stream_id=stream_ids)
    def tells_how_it_goes(self, what: AmfValue, stream_id: int) -> None:
        self.send(20, stream_id, encode("onStatus", 0, None, what))

    @rule()
    def takes_it(self) -> None:
        self.send(20, 0, encode("_result", 1, {}, {"code": "NetConnection.Connect.Success"}))
        self.send(20, 0, encode("_result", 4, None, 7))
        start = "NetStream.Publish.Start" if self.mode == "publish" else "NetStream.Play.Start"
        self.send(20, 7, encode("onStatus", 0, None, {"level": "status", "code": start}))

    @rule()
    def is_left(self) -> None:
        self.client.unpublish()
        assert self.client.state is ClientState.CLOSED
        self.listen()
        self.fresh()

    @invariant()
    def is_somewhere(self) -> None:
        assert self.client.state in CLIENT
        assert self.client.handshaken


class Origin(Platform):
    """Against the client's role, playing."""

    make = staticmethod(lambda: make_client("play"))
    mode = "play"


MACHINES: tuple[type[Peer], ...] = (PublisherOrPlayer, Platform, Origin)


def run(machine: type[Peer], sequences: int, *, steps: int = 25) -> None:
    """Try ``sequences`` of up to ``steps`` steps; the shortest that breaks a rule fails."""
    chosen = settings(max_examples=sequences, stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[no-untyped-call]
