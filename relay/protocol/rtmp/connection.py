"""What RTMP server and client connections share: handshake, chunks, control messages, counters, the send queue."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from relay.protocol.amf0 import AmfLimits, AmfValue, decode, encode
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import ChunkReader, Message, write_message
from relay.protocol.rtmp.handshake import Handshake
from relay.protocol.rtmp.limits import RtmpLimits
from relay.protocol.rtmp.message import (
    MessageType,
    UserControl,
    read_u32,
    read_user_control,
    split_aggregate,
    u32,
    user_control,
)

CONTROL_CSID, COMMAND_CSID, STATUS_CSID = 2, 3, 5
OUT_CHUNK_SIZE = 60_000  # what ffmpeg uses, so every platform takes it; a phone's packet is then one chunk
WINDOW = 5_000_000


class Connection(ABC):
    """Take bytes with ``receive``, send what ``data_to_send`` gives. Does no I/O and knows no clock but ``now``."""

    def __init__(self, handshake: Handshake, limits: RtmpLimits) -> None:
        self._handshake = handshake
        self._limits = limits
        self._amf_limits = AmfLimits(limits.amf_depth, limits.amf_nodes, limits.amf_string_bytes)
        self._reader = ChunkReader(limits)
        self._out: list[bytes] = []
        self._chunk_size = 128
        self.peer_window: int | None = None

    @property
    def received(self) -> int:
        """Bytes received behind the handshake. Peers that count the handshake too count more, never less."""
        return self._reader.bytes_read

    @property
    def message_end(self) -> int:
        """Of ``received``, the bytes up to the end of the last whole message."""
        return self._reader.message_end

    @property
    def out_chunk_size(self) -> int:
        """The chunk size of what we send, in bytes."""
        return self._chunk_size

    @property
    def handshaken(self) -> bool:
        return self._handshake.done

    def data_to_send(self) -> bytes:
        """What to send now; empties the queue."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes | memoryview, now: float) -> list[events.Event]:
        """Take bytes cut anywhere; events in order. Raises ProtocolError or LimitError: close then."""
        if not self._handshake.done:
            rest = self._handshake.feed(data)
            self._out.append(self._handshake.data_to_send())
            if rest is None:
                return []
            self._on_handshake()
            data = rest
        messages: list[Message] = []
        self._reader.read(data, messages)
        return self._dispatch(messages, now)

    def acknowledge(self, count: int) -> None:
        """Queue an Acknowledgement (§5.4.3) of ``count`` received bytes, modulo 2^32."""
        self._control(MessageType.ACKNOWLEDGEMENT, u32(count))

    def ping(self, timestamp: int) -> None:
        """Queue a ping request carrying ``timestamp`` in ms (§7.1.7)."""
        self._control(MessageType.USER_CONTROL, user_control(UserControl.PING_REQUEST, timestamp))

    # --- for server and client ---------------------------------------------------------------------------------

    @abstractmethod
    def _dispatch(self, messages: list[Message], now: float) -> list[events.Event]:
        """The events of whole messages, in order."""

    @abstractmethod
    def _on_handshake(self) -> None:
        """The handshake is done."""

    def _control(self, type_id: int, payload: bytes) -> None:
        self._send(type_id, 0, payload, CONTROL_CSID)

    def _send(self, type_id: int, stream_id: int, payload: bytes, csid: int) -> None:
        self._out.append(write_message(type_id, stream_id, 0, payload, chunk_size=self._chunk_size, csid=csid))

    def _command(self, *values: AmfValue, stream_id: int = 0) -> None:
        csid = STATUS_CSID if stream_id else COMMAND_CSID
        self._send(MessageType.COMMAND, stream_id, encode(*values), csid)

    def _set_chunk_size(self, chunk_size: int) -> None:
        self._control(MessageType.SET_CHUNK_SIZE, u32(chunk_size))
        self._chunk_size = chunk_size

    def _read_control(self, message: Message) -> list[events.Event]:
        """Types 1 to 6, and whatever is neither media, data nor command."""
        match message.type_id:
            case MessageType.ACKNOWLEDGEMENT:
                return [events.Acknowledged(read_u32(message.payload, "Acknowledgement"))]
            case MessageType.WINDOW_ACK_SIZE:
                self.peer_window = read_u32(message.payload, "Window Acknowledgement Size")
            case MessageType.USER_CONTROL:
                event, value = read_user_control(message.payload)
                if event == UserControl.PING_REQUEST:
                    self._control(MessageType.USER_CONTROL, user_control(UserControl.PING_RESPONSE, value))
                elif event == UserControl.PING_RESPONSE:
                    return [events.PongReceived(value)]
        return []

    def _read_data(self, message: Message) -> list[events.Event]:
        """Data messages (§7.1.2): onMetaData, with or without @setDataFrame; others carry nothing kept."""
        payload = message.payload
        if message.type_id == MessageType.DATA_AMF3 and payload[:1] == b"\0":
            payload = payload[1:]
        values = decode(payload, self._amf_limits)
        if values[:1] == ["@setDataFrame"]:
            values = values[1:]
        if len(values) > 1 and values[0] == "onMetaData" and isinstance(values[1], Mapping):
            return [events.MetadataReceived(message.stream_id, values[1])]
        return []

    @staticmethod
    def _unpacked(messages: list[Message]) -> list[Message]:
        """``messages`` with aggregates replaced by what is in them."""
        if all(message.type_id != MessageType.AGGREGATE for message in messages):
            return messages
        flat: list[Message] = []
        for message in messages:
            flat += split_aggregate(message) if message.type_id == MessageType.AGGREGATE else [message]
        return flat
