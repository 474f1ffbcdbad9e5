"""ClientConnection: the relay's side of a conversation with a platform it publishes to, or a server it plays from."""

from collections.abc import Mapping
from typing import Literal

from relay.errors import LimitError
from relay.protocol.amf0 import AmfValue, number
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message
from relay.protocol.rtmp.command import Command, enhanced_fields, read_command
from relay.protocol.rtmp.connection import OUT_CHUNK_SIZE, Connection
from relay.protocol.rtmp.handshake import ClientHandshake
from relay.protocol.rtmp.limits import Allowance, RtmpLimits
from relay.protocol.rtmp.message import MessageType, UserControl, u32, user_control
from relay.protocol.rtmp.state import CLIENT, ClientState, step

FLASH_VERSION = "FMLE/3.0 (compatible; FieldRelay)"
_CONNECT, _RELEASE, _FC_PUBLISH, _CREATE = 1, 2, 3, 4  # transactions; what follows createStream uses the next
_ASK = 5
_MEDIA = (8, 9)
_CARRIES_MEDIA = (*_MEDIA, MessageType.AGGREGATE)
_HEADER_BYTES = 12  # of a message's first chunk
# What may come as often as it likes, within its bytes; all else is a command, or costs as much.
_UNCOUNTED = frozenset((*_MEDIA, MessageType.DATA, MessageType.DATA_AMF3, MessageType.ACKNOWLEDGEMENT))
_FINAL = frozenset(
    {
        "NetConnection.Connect.Rejected",
        "NetConnection.Connect.InvalidApp",
        "NetStream.Publish.BadName",
        "NetStream.Publish.Denied",
        "NetStream.Publish.Unauthorized",
        "NetStream.Play.StreamNotFound",
        "NetStream.Authenticate.UsherFailed",
        "NetStream.Failed",
    }
)


class ClientConnection(Connection):
    """Says everything up to the publish (or play) by itself, then reports Established, Rejected or Ended.

    ``enhanced`` False leaves out the Enhanced RTMP fields some platforms choke on. In play mode media arrives
    as Messages and MetadataReceived.
    """

    def __init__(
        self,
        *,
        app: str,
        tc_url: str,
        stream_name: str,
        nonce: bytes,
        now: float,
        mode: Literal["publish", "play"] = "publish",
        enhanced: bool = True,
        digest: bool = True,
        chunk_size: int = OUT_CHUNK_SIZE,
        limits: RtmpLimits | None = None,
    ) -> None:
        super().__init__(ClientHandshake(nonce, int(now * 1000), digest=digest), limits or RtmpLimits())
        self.state = ClientState.HANDSHAKE
        self.stream_id = 0
        self._app = app
        self._tc_url = tc_url
        self._name = stream_name
        self._mode = mode
        self._enhanced = enhanced
        self._wanted_chunk_size = chunk_size
        self._acknowledged = 0
        self._allowance = Allowance(self._limits, now)
        self._may_say = float(self._limits.answer_bytes_per_s)
        self._may_say_at = now
        self._out.append(self._handshake.data_to_send())

    def unpublish(self) -> None:
        """Say goodbye: FCUnpublish and deleteStream. Send what is queued, then close."""
        if self.state is ClientState.LIVE:
            if self._mode == "publish":
                self._command("FCUnpublish", _ASK + 1, None, self._name)
            self._command("deleteStream", _ASK + 2, None, self.stream_id)
        self.state = ClientState.CLOSED

    # --- what arrives -----------------------------------------------------------------------------------------

    def receive(self, data: bytes | memoryview, now: float) -> list[events.Event]:
        """Take bytes cut anywhere; events in order. Raises ProtocolError or LimitError: close then."""
        if self._mode == "publish":  # whoever is published to has little to say; what is too much is not even read
            if self.state is ClientState.LIVE:
                self._count_answers(len(data), now)
            elif self.handshaken:
                self._check_talk(self.received + len(data))
        return super().receive(data, now)

    def _on_handshake(self) -> None:
        self._step("handshaken")
        connect: dict[str, AmfValue] = {
            "app": self._app,
            "type": "nonprivate",
            "flashVer": FLASH_VERSION,
            "swfUrl": self._tc_url,
            "tcUrl": self._tc_url,
        }
        if self._mode == "play":
            connect |= {
                "fpad": False,
                "capabilities": 15,
                "audioCodecs": 4071,
                "videoCodecs": 252,
                "videoFunction": 1,
            }
        if self._enhanced:
            connect |= enhanced_fields(full=True)
        self._command("connect", _CONNECT, connect)

    def _dispatch(self, messages: list[Message], now: float) -> list[events.Event]:
        out: list[events.Event] = []
        for message in self._unpacked(messages):
            type_id = message.type_id
            if type_id not in _UNCOUNTED:
                self._allowance.spend(now)
            if type_id in _MEDIA:
                if self.state is ClientState.LIVE and self._mode == "play":
                    out.append(message)
            elif type_id in (MessageType.DATA, MessageType.DATA_AMF3):
                if self.state is ClientState.LIVE and self._mode == "play":
                    out += self._read_data(message)
            elif type_id in (MessageType.COMMAND, MessageType.COMMAND_AMF3):
                out += self._read_command(read_command(type_id, message.payload, self._amf_limits))
            else:
                out += self._read_control(message)
        if self.state is ClientState.LIVE:
            if self._mode == "play":
                talk = (item for item in messages if item.type_id not in _CARRIES_MEDIA)
                self._count_answers(sum(_HEADER_BYTES + len(item.payload) for item in talk), now)
        elif self.state is not ClientState.CLOSED:
            self._check_talk(self.received)
        if self.peer_window and self.received - self._acknowledged >= self.peer_window // 2:
            self._acknowledged = self.received
            self.acknowledge(self.received)
        return out

    def _check_talk(self, received: int) -> None:
        most = self._limits.pre_auth_bytes
        if received > most:
            raise LimitError("pre_auth_bytes", f"over {most} bytes and no {self._mode} accepted")

    def _count_answers(self, said: int, now: float) -> None:
        """``said`` bytes more of what nobody asked for."""
        rate = self._limits.answer_bytes_per_s
        self._may_say = min(rate, self._may_say + (now - self._may_say_at) * rate) - said
        self._may_say_at = now
        if self._may_say < 0:
            raise LimitError("answer_bytes", f"over {rate} bytes a second of what nobody asked for")

    def _read_command(self, command: Command) -> list[events.Event]:
        if self.state is ClientState.CLOSED:
            return []
        if command.name == "_result":
            return self._result(command)
        if command.name == "_error":
            # Servers answer releaseStream and FCPublish with errors when they do not know them: no harm.
            if command.transaction in (_CONNECT, _CREATE, _ASK):
                return [self._rejected(command.arguments[0] if command.arguments else command.properties)]
            return []
        if command.name == "onStatus":
            return self._on_status(command.arguments[0] if command.arguments else command.properties)
        if command.name == "close":
            return [self._over("NetConnection.Connect.Closed", "the server closed the connection")]
        return []

    def _result(self, command: Command) -> list[events.Event]:
        if command.transaction == _CONNECT and self.state is ClientState.CONNECT:
            self._step("connected")
            self._set_chunk_size(self._wanted_chunk_size)
            if self._mode == "publish":
                self._command("releaseStream", _RELEASE, None, self._name)
                self._command("FCPublish", _FC_PUBLISH, None, self._name)
            else:
                self._control(MessageType.WINDOW_ACK_SIZE, u32(2_500_000))
            self._command("createStream", _CREATE, None)
        elif command.transaction == _CREATE and self.state is ClientState.PUBLISH and not self.stream_id:
            self.stream_id = int(command.number(0, 1)) & 0xFFFFFFFF or 1
            if self._mode == "publish":
                self._command("publish", _ASK, None, self._name, "live", stream_id=self.stream_id)
            else:
                self._command("play", _ASK, None, self._name, -1000, stream_id=self.stream_id)
                buffer_length = user_control(UserControl.SET_BUFFER_LENGTH, self.stream_id) + u32(3000)
                self._control(MessageType.USER_CONTROL, buffer_length)
        return []

    def _on_status(self, value: AmfValue) -> list[events.Event]:
        code, level, description = _status_of(value)
        if self.state is ClientState.LIVE:
            if level == "error" or code in ("NetStream.Unpublish.Success", "NetStream.Play.UnpublishNotify"):
                return [self._over(code, description)]
            return []
        if level == "error":
            return [self._rejected(value)]
        start = "NetStream.Publish.Start" if self._mode == "publish" else "NetStream.Play.Start"
        if code == start and self.state is ClientState.PUBLISH and self.stream_id:
            self._step("established")
            return [events.Established(self.stream_id)]
        return []

    def _rejected(self, value: AmfValue) -> events.Event:
        code, _, description = _status_of(value)
        self._step("close")
        more = value.get("ex") if isinstance(value, Mapping) else None
        if isinstance(more, Mapping) and "redirect" in more:  # of Adobe's access plug-ins; Wowza's load balancer
            description = f"it sends on to another address, which is not followed: {description}"
        # A name still busy with our own earlier connection frees itself: worth trying again soon.
        final = code in _FINAL and "already" not in description.lower()
        return events.Rejected(code or "error", description, final)

    def _over(self, code: str, description: str) -> events.Event:
        self._step("close")
        return events.Ended(code, description)

    def _step(self, trigger: str) -> None:
        self.state = step(CLIENT, self.state, trigger)


def _status_of(value: AmfValue) -> tuple[str, str, str]:
    """(code, level, description) of an information object, empty where a stranger left them out."""
    if not isinstance(value, Mapping):
        return "", "", str(value) if isinstance(value, str) else ""
    found = (value.get(name) for name in ("code", "level", "description"))
    code, level, description = (
        item if isinstance(item, str) else f"{number(item):g}" if isinstance(item, int | float) else ""
        for item in found
    )
    return code[:200], level[:50], description[:500]
