"""RTMP chunks (RTMP 1.0 §5.3): many chunk streams in, whole messages out; and one stateless way to write them."""

from struct import Struct
from sys import maxsize
from typing import NamedTuple

from relay.errors import LimitError, ProtocolError
from relay.protocol.rtmp.limits import RtmpLimits

SET_CHUNK_SIZE, ABORT = 1, 2
_EXTENDED = 0xFFFFFF
_HEADER_BYTES = (11, 7, 3, 0)  # message header by fmt, §5.3.1.2
_PLAUSIBLE_DELTA_MS = 1000
# A whole header in as few reads as there can be: basic header and timestamp, length and type; message stream id.
_FIELDS = Struct(">II").unpack_from
_STREAM_ID = Struct("<I").unpack_from
_new = tuple.__new__  # a named tuple's own is a Python function, and takes twice as long


class Message(NamedTuple):
    """One RTMP message. ``timestamp``: 32-bit ms, absolute. ``end``: bytes read up to and with its last byte."""

    type_id: int
    stream_id: int
    timestamp: int
    payload: bytes
    end: int


class _ChunkStream:
    """What the next header of one chunk stream id is a difference from, and the message being put together."""

    __slots__ = (
        "delta",
        "extended",
        "field",
        "have",
        "length",
        "parts",
        "repeats",
        "stream_id",
        "timestamp",
        "type_id",
    )

    def __init__(self) -> None:
        self.timestamp = 0
        self.delta = 0
        self.field = 0  # the extended timestamp as sent, which fmt 3 chunks may repeat
        self.extended = False
        self.repeats = True  # whether the peer was last seen to do so
        self.length = 0
        self.type_id = 0
        self.stream_id = 0
        self.have = 0
        self.parts: list[bytes] = []


class ChunkReader:
    """Feeds on bytes cut anywhere; memory grows with what arrived, never with what a header announces.

    ``at_once``: the most messages of one ``read``; while ``has_more``, what is behind them is read by the next, which
    may be of nothing.

    Set Chunk Size and Abort take effect here, where the following bytes depend on them, and are passed on too.
    ``bytes_read`` counts all bytes fed, ``message_end`` those up to the end of the last whole message.
    """

    __slots__ = (
        "_at_once",
        "_chunk_size",
        "_left",
        "_limits",
        "_most",
        "_open",
        "_partial",
        "_streams",
        "_torn",
        "bytes_read",
        "has_more",
        "message_end",
    )

    def __init__(self, limits: RtmpLimits | None = None, at_once: int = maxsize) -> None:
        self._limits = limits = limits or RtmpLimits()
        self._most = [limits.message_bytes(type_id) for type_id in range(256)]
        self._chunk_size = 128  # §5.4.1
        self._streams: dict[int, _ChunkStream] = {}
        self._torn = b""
        self._open: _ChunkStream | None = None
        self._left = 0  # payload bytes of the open chunk still to come
        self._partial = 0  # bytes held in unfinished messages
        self._at_once = at_once
        self.has_more = False
        self.bytes_read = 0
        self.message_end = 0

    @property
    def chunk_size(self) -> int:
        """The peer's chunk size in bytes, clamped to the largest message."""
        return self._chunk_size

    def read(self, data: bytes | memoryview, out: list[Message]) -> None:
        """Consume all of ``data``, appending each message it completes to ``out``.

        Raises ProtocolError or LimitError; the messages completed before the fault are in ``out``.
        """
        data = self._torn + data if self._torn else bytes(data)
        base = self.bytes_read - len(self._torn)
        self._torn = b""
        self.has_more = False
        size = len(data)
        self.bytes_read = base + size
        at = 0
        stream = self._open
        while True:
            if stream is None:
                start = at = self._whole(data, at, size, base, out)
                if at == size:
                    return
                if len(out) >= self._at_once:
                    self.has_more = True
                    self._torn = data[at:]
                    return
                at = self._header(data, start, size)
                if at < 0:
                    self._torn = data[start:]
                    return
                stream = self._open
                assert stream is not None
            take = size - at
            if take > self._left:
                take = self._left
            if take:
                stream.parts.append(data[at : at + take])
                stream.have += take
                at += take
                self._left -= take
                self._partial += take
                if self._partial > self._limits.partial_bytes:
                    raise LimitError("partial_bytes", f"over {self._limits.partial_bytes} bytes of unfinished messages")
            if self._left:
                return
            if stream.have == stream.length:
                payload = b"".join(stream.parts)
                self._forget(stream)
                self._finish(stream, payload, base + at, out)
            self._open = stream = None

    def _whole(self, data: bytes, at: int, size: int, base: int, out: list[Message]) -> int:
        """The common case, read at one go: messages that are all here, with headers of type 0 or 1 in their short form.

        The offset behind them; at the first message of another kind it stops, and nothing of that is changed.
        """
        streams, most, chunk_size = self._streams, self._most, self._chunk_size
        begin, most_at_once = at, self._at_once
        while at < size and len(out) < most_at_once:
            first = data[at]
            if first >= 0x80:
                break
            stream = streams.get(first & 0x3F)
            body = at + 12 if first < 0x40 else at + 8
            if stream is None or stream.have or body > size:
                break
            field, rest = _FIELDS(data, at)
            field &= 0xFFFFFF
            length: int = rest >> 8
            type_id: int = rest & 0xFF
            end = body + length
            if length > chunk_size:
                end += (length - 1) // chunk_size  # a byte of header before each further chunk
            if end > size or field == _EXTENDED or length > most[type_id] or type_id <= ABORT or first & 0x3F < 2:
                break
            if length <= chunk_size:
                payload = data[body:end]
            else:
                step = chunk_size + 1
                if data[body + chunk_size : end : step].strip(bytes((0xC0 | first,))):
                    break  # other chunk streams in between
                payload = b"".join([data[piece : min(piece + chunk_size, end)] for piece in range(body, end, step)])
            if first < 0x40:
                timestamp = field
                stream.delta = field if field <= _PLAUSIBLE_DELTA_MS else 0  # see _header
                stream.stream_id = _STREAM_ID(data, at + 8)[0]
            else:
                stream.delta = field
                timestamp = (stream.timestamp + field) & 0xFFFFFFFF
            stream.timestamp = timestamp
            stream.extended = False
            stream.field = field
            stream.length = length
            stream.type_id = type_id
            out.append(_new(Message, (type_id, stream.stream_id, timestamp, payload, base + end)))
            at = end
        if at > begin:
            self.message_end = base + at
        return at

    def _header(self, data: bytes, at: int, size: int) -> int:
        """Read one chunk header (§5.3.1); the offset behind it, or -1 when it is cut off."""
        first = data[at]
        at += 1
        fmt = first >> 6
        csid = first & 0x3F
        if csid < 2:  # §5.3.1.1: two- and three-byte forms
            if size < at + 1 + csid:
                return -1
            if csid == 0:
                csid = 64 + data[at]
                at += 1
            else:
                csid = 64 + data[at] + data[at + 1] * 256
                at += 2
        fields = at
        at += _HEADER_BYTES[fmt]
        if size < at:
            return -1
        stream = self._streams.get(csid)
        if stream is None:
            stream = self._new_stream(csid, fmt)
        if fmt == 3:
            if stream.extended:
                # Adobe's text and most peers repeat the field on every fmt 3 chunk; some do not. The bytes tell.
                if size >= at + 4:
                    stream.repeats = int.from_bytes(data[at : at + 4], "big") == stream.field
                elif stream.repeats:
                    return -1
                if stream.repeats:
                    at += 4
            if stream.have == 0:
                stream.timestamp = (stream.timestamp + stream.delta) & 0xFFFFFFFF
        else:
            field = int.from_bytes(data[fields : fields + 3], "big")
            extended = field == _EXTENDED
            if extended:
                if size < at + 4:
                    return -1
                field = int.from_bytes(data[at : at + 4], "big")
                at += 4
            if stream.have:
                # A new message before the last one was whole: the peer gave that one up.
                self._forget(stream)
            stream.extended = extended
            stream.field = field
            if fmt == 0:
                stream.timestamp = field
                # §5.3.1.2.4 makes an fmt 3 message that follows repeat this number as its delta, which ffmpeg does
                # (its first frames); librtmp means "same time" by it. A large number can only be the latter.
                stream.delta = field if field <= _PLAUSIBLE_DELTA_MS else 0
                stream.stream_id = int.from_bytes(data[fields + 7 : fields + 11], "little")
            else:
                stream.delta = field
                stream.timestamp = (stream.timestamp + field) & 0xFFFFFFFF
            if fmt < 2:
                length = int.from_bytes(data[fields + 3 : fields + 6], "big")
                type_id = data[fields + 6]
                if length > self._most[type_id]:
                    raise LimitError(
                        "message_size",
                        f"message of type {type_id} with {length} bytes; {self._most[type_id]} allowed",
                    )
                stream.length = length
                stream.type_id = type_id
        left = stream.length - stream.have
        self._left = left if left < self._chunk_size else self._chunk_size
        self._open = stream
        return at

    def _new_stream(self, csid: int, fmt: int) -> _ChunkStream:
        if fmt > 1:
            raise ProtocolError(
                f"chunk stream {csid} begins with a header of type {fmt}, which refers to an earlier one"
            )
        if len(self._streams) >= self._limits.chunk_streams:
            raise LimitError("chunk_streams", f"more than {self._limits.chunk_streams} chunk streams")
        stream = self._streams[csid] = _ChunkStream()
        return stream

    def _forget(self, stream: _ChunkStream) -> None:
        self._partial -= stream.have
        stream.have = 0
        stream.parts = []

    def _finish(self, stream: _ChunkStream, payload: bytes, end: int, out: list[Message]) -> None:
        type_id = stream.type_id
        self.message_end = end
        out.append(Message(type_id, stream.stream_id, stream.timestamp, payload, end))
        if type_id == SET_CHUNK_SIZE:
            self._set_chunk_size(payload)
        elif type_id == ABORT:
            aborted = self._streams.get(int.from_bytes(payload[:4], "big"))
            if aborted is not None:
                self._forget(aborted)

    def _set_chunk_size(self, payload: bytes) -> None:
        """§5.4.1: 31 bits, at least 1; less than the agreed minimum is an attack on the processor."""
        chunk_size = int.from_bytes(payload[:4], "big")
        if len(payload) < 4 or not self._limits.chunk_size_min <= chunk_size < 1 << 31:
            raise LimitError(
                "chunk_size", f"chunk size {chunk_size}; it must be at least {self._limits.chunk_size_min} bytes"
            )
        self._chunk_size = min(chunk_size, max(self._most))


def write_message(type_id: int, stream_id: int, timestamp: int, payload: bytes, *, chunk_size: int, csid: int) -> bytes:
    """One message as chunks: fmt 0, then fmt 3. It refers to no earlier message, so peers can share the bytes.

    ``csid`` is 2…63; ``timestamp`` any integer in ms (its low 32 bits travel).
    """
    timestamp &= 0xFFFFFFFF
    extended = timestamp >= _EXTENDED
    length = len(payload)
    head = b"%c%b%b%c%b" % (
        csid,
        (_EXTENDED if extended else timestamp).to_bytes(3, "big"),
        length.to_bytes(3, "big"),
        type_id,
        stream_id.to_bytes(4, "little"),
    )
    more = timestamp.to_bytes(4, "big") if extended else b""
    if length <= chunk_size:
        return head + more + payload
    joint = bytes((0xC0 | csid,)) + more
    pieces = [payload[at : at + chunk_size] for at in range(0, length, chunk_size)]
    return head + more + joint.join(pieces)
