"""ServerConnection: the relay's side of a conversation with an encoder that publishes, or a player that plays."""

from collections.abc import Mapping
from sys import maxsize
from typing import cast

from relay.errors import LimitError, ProtocolError
from relay.protocol.amf0 import UNDEFINED, AmfValue, encode
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message
from relay.protocol.rtmp.command import Command, enhanced_fields, fourccs_of, read_command, status
from relay.protocol.rtmp.connection import OUT_CHUNK_SIZE, STATUS_CSID, WINDOW, Connection
from relay.protocol.rtmp.handshake import ServerHandshake
from relay.protocol.rtmp.limits import Allowance, RtmpLimits
from relay.protocol.rtmp.message import MessageType, UserControl, peer_bandwidth, u32, user_control
from relay.protocol.rtmp.state import SERVER, ServerState, step

MAX_STREAMS = 8
_MEDIA = frozenset((8, 9))  # MessageType.AUDIO and VIDEO, as plain numbers for the hot path
# What may come as often as it likes once a key was shown; all else is a command, or costs as much.
_UNCOUNTED = frozenset((*_MEDIA, MessageType.DATA, MessageType.DATA_AMF3, MessageType.ACKNOWLEDGEMENT))
# Commands that only want to be acknowledged; librtmp waits for some of them as (null, undefined).
_COURTESIES = frozenset({"releaseStream", "_checkbw", "checkBandwidth", "getStreamLength", "setPlaybackLimits"})


class ServerConnection(Connection):
    """One connection, at most one publish or play at a time. Media before an accepted publish is dropped.

    A request to publish or play stops the reading of what follows until it is answered: ``accept_publish``
    returns the events that had already arrived behind it. ``at_once``: see ChunkReader.
    """

    def __init__(self, *, nonce: bytes, now: float, limits: RtmpLimits | None = None, at_once: int = maxsize) -> None:
        super().__init__(ServerHandshake(nonce, int(now * 1000)), limits or RtmpLimits(), at_once)
        self.state = ServerState.HANDSHAKE
        self._streams = 0
        self._stream_id = 0  # of the running or requested publish or play
        self._held: list[Message] = []
        self._allowance = Allowance(self._limits, now)
        self._read_at = now
        self._authenticated = False

    # --- answers ----------------------------------------------------------------------------------------------

    def accept_publish(self, stream_id: int) -> list[events.Event]:
        """Say NetStream.Publish.Start; the events of what the encoder sent without waiting for it."""
        self._step("accept_publish")
        self._authenticated = True
        self._status(stream_id, "status", "NetStream.Publish.Start", "publishing")
        return self._release()

    def refuse_publish(self, stream_id: int, description: str, code: str = "NetStream.Publish.BadName") -> None:
        """Say why not, in the words the encoder shows to its user; close afterwards."""
        self._refuse(stream_id, code, description)

    def accept_play(self, stream_id: int) -> list[events.Event]:
        """Say that the stream begins (§7.2.2.1); media may follow at once."""
        self._step("accept_play")
        self._authenticated = True
        self._control(MessageType.USER_CONTROL, user_control(UserControl.STREAM_BEGIN, stream_id))
        self._status(stream_id, "status", "NetStream.Play.Reset", "playing and resetting")
        self._status(stream_id, "status", "NetStream.Play.Start", "playing")
        self._send(MessageType.DATA, stream_id, encode("|RtmpSampleAccess", True, True), STATUS_CSID)
        self._send(MessageType.DATA, stream_id, encode("onStatus", {"code": "NetStream.Data.Start"}), STATUS_CSID)
        return self._release()

    def refuse_play(self, stream_id: int, description: str, code: str = "NetStream.Play.StreamNotFound") -> None:
        """Say why not; close afterwards."""
        self._refuse(stream_id, code, description)

    def end_play(self, stream_id: int) -> None:
        """The stream played is over."""
        if self.state is not ServerState.PLAYING:
            return
        self._step("stop")
        self._control(MessageType.USER_CONTROL, user_control(UserControl.STREAM_EOF, stream_id))
        self._status(stream_id, "status", "NetStream.Play.UnpublishNotify", "the stream has ended")
        self._status(stream_id, "status", "NetStream.Play.Stop", "stopped")

    def close(self, description: str) -> None:
        """Tell the peer why the connection ends, where it can be told. Send what is queued, then close."""
        if self.state is ServerState.PUBLISHING:
            self._status(self._stream_id, "error", "NetStream.Publish.Denied", description)
        elif self.state not in (ServerState.HANDSHAKE, ServerState.CLOSED):
            self._command(
                "onStatus",
                0,
                None,
                {"level": "error", "code": "NetConnection.Connect.Closed", "description": description},
            )
        self._step("close")

    # --- what arrives -----------------------------------------------------------------------------------------

    def _on_handshake(self) -> None:
        self._step("handshaken")

    def _dispatch(self, messages: list[Message], now: float) -> list[events.Event]:
        if not self._authenticated and self.received > self._limits.pre_auth_bytes:
            raise LimitError("pre_auth_bytes", f"over {self._limits.pre_auth_bytes} bytes before publish or play")
        if self.state is ServerState.PUBLISHING:
            for message in messages:
                if message[0] not in _MEDIA:
                    break
            else:
                return cast(list[events.Event], messages)  # the common case: media, and nothing else
        return self._read(self._unpacked(messages), now)

    def _read(self, messages: list[Message], now: float) -> list[events.Event]:
        out: list[events.Event] = []
        self._read_at = now
        for index, message in enumerate(messages):
            type_id = message.type_id
            if not self._authenticated or type_id not in _UNCOUNTED:
                self._allowance.spend(now)
            if type_id in _MEDIA:
                if self.state is ServerState.PUBLISHING:
                    out.append(message)
            elif type_id in (MessageType.DATA, MessageType.DATA_AMF3):
                if self.state is ServerState.PUBLISHING:
                    out += self._read_data(message)
            elif type_id in (MessageType.COMMAND, MessageType.COMMAND_AMF3):
                out += self._read_command(message)
                if self.state is ServerState.DECIDING:
                    self._held = messages[index + 1 :]
                    break
            else:
                out += self._read_control(message)
        return out

    def _read_command(self, message: Message) -> list[events.Event]:
        command = read_command(message.type_id, message.payload, self._amf_limits)
        name = command.name
        if name == "connect":
            return [self._connect(command)]
        if self.state is ServerState.CONNECTING:
            raise ProtocolError("a command arrived before connect")
        if name in _COURTESIES:
            self._command("_result", command.transaction, None, UNDEFINED)
        elif name == "createStream":
            if self._streams >= MAX_STREAMS:
                raise LimitError("streams", f"more than {MAX_STREAMS} message streams on one connection")
            self._streams += 1
            self._command("_result", command.transaction, None, self._streams)
        elif name == "FCPublish":
            self._command("onFCPublish", 0, None, {"code": "NetStream.Publish.Start", "description": "publishing"})
            self._command("_result", command.transaction, None, UNDEFINED)
        elif name == "FCSubscribe":
            self._command("onFCSubscribe", 0, None, {"code": "NetStream.Play.Start", "description": "playing"})
        elif name == "publish":
            self._ask(message.stream_id)
            return [events.PublishRequested(self._stream_id, command.text(0), command.text(1, "live"))]
        elif name == "play":
            self._ask(message.stream_id)
            return [events.PlayRequested(self._stream_id, command.text(0), command.number(1, -2.0))]
        elif name == "FCUnpublish":
            self._command("onFCUnpublish", 0, None, {"code": "NetStream.Unpublish.Success", "description": "bye"})
            if command.transaction:
                self._command("_result", command.transaction, None, UNDEFINED)
            return self._stopped()
        elif name in ("deleteStream", "closeStream"):
            return self._stopped()
        return []

    def _connect(self, command: Command) -> events.Connected:
        self._step("connect")
        properties = command.properties
        if not isinstance(properties, Mapping):
            raise ProtocolError("connect without its command object")
        app, tc_url, flash_ver = (properties.get(key) for key in ("app", "tcUrl", "flashVer"))
        encoding = properties.get("objectEncoding")
        self._control(MessageType.WINDOW_ACK_SIZE, u32(WINDOW))
        self._control(MessageType.SET_PEER_BANDWIDTH, peer_bandwidth(WINDOW))
        self._set_chunk_size(OUT_CHUNK_SIZE)
        fourccs = fourccs_of(properties)
        enhanced = enhanced_fields(full="capsEx" in properties) if fourccs else {}
        information: dict[str, AmfValue] = {
            "level": "status",
            "code": "NetConnection.Connect.Success",
            "description": "Connection succeeded.",
            "objectEncoding": 0,
        }
        server: dict[str, AmfValue] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31, "mode": 1, **enhanced}
        self._command("_result", command.transaction or 1, server, information)
        return events.Connected(
            app=app if isinstance(app, str) else "",
            tc_url=tc_url if isinstance(tc_url, str) else "",
            flash_ver=flash_ver if isinstance(flash_ver, str) else "",
            object_encoding=3 if encoding == 3 else 0,
            fourccs=fourccs,
            properties=properties,
        )

    def _ask(self, stream_id: int) -> None:
        if self.state in (ServerState.PUBLISHING, ServerState.PLAYING):
            raise ProtocolError("this connection already publishes or plays; one at a time")
        self._step("ask")
        # A few encoders publish on message stream 0 without createStream.
        self._stream_id = stream_id or 1

    def _stopped(self) -> list[events.Event]:
        if self.state is ServerState.PUBLISHING:
            self._step("stop")
            self._status(self._stream_id, "status", "NetStream.Unpublish.Success", "unpublished")
            return [events.Unpublished(self._stream_id)]
        if self.state is ServerState.PLAYING:
            self._step("stop")
            return [events.PlayStopped(self._stream_id)]
        return []

    def _refuse(self, stream_id: int, code: str, description: str) -> None:
        self._step("refuse")
        self._held = []
        self._status(stream_id, "error", code, description)

    def _release(self) -> list[events.Event]:
        held, self._held = self._held, []
        return self._read(held, self._read_at)

    def _status(self, stream_id: int, level: str, code: str, description: str) -> None:
        self._send(MessageType.COMMAND, stream_id, status(level, code, description), STATUS_CSID)

    def _step(self, trigger: str) -> None:
        self.state = step(SERVER, self.state, trigger)
