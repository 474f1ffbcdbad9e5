"""What arrives on an RTMP connection: handshake, chunks, AMF0, messages, whole conversations in both roles."""

import contextlib
import hashlib
from collections.abc import Iterable

from relay.errors import LimitError, ProtocolError
from relay.protocol import amf0, flv
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import ChunkReader, Message, write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.command import fourccs_of, read_command
from relay.protocol.rtmp.connection import Connection
from relay.protocol.rtmp.handshake import ClientHandshake, Handshake, ServerHandshake
from relay.protocol.rtmp.limits import RtmpLimits
from relay.protocol.rtmp.message import read_u32, read_user_control, split_aggregate
from relay.protocol.rtmp.server import ServerConnection
from relay.protocol.rtmp.url import parse_rtmp_url, split_publish, split_stream
from tests.protocol.captures import pieces

NONCE = b"".join(hashlib.sha256(bytes((number,))).digest() for number in range(96))
SMALL = RtmpLimits(
    video_message_bytes=3000,
    audio_message_bytes=1000,
    command_message_bytes=2000,
    chunk_streams=8,
    partial_bytes=4000,
    pre_auth_bytes=6000,
    amf_depth=4,
    amf_nodes=32,
    amf_string_bytes=64,
    commands_burst=20,
)
"""Limits that short inputs reach."""

TYPES = (20, 20, 17, 18, 15, 8, 9, 1, 2, 3, 4, 5, 6, 22, 16, 0)


def fuzz_handshake(data: bytes) -> None:
    """Byte 0: role (bit 0), whether a client offers digests (bit 1). Byte 1: into what pieces the rest is cut."""
    if len(data) < 2:
        return

    def fresh() -> Handshake:
        return ServerHandshake(NONCE, 1) if data[0] & 1 else ClientHandshake(NONCE, 1, digest=bool(data[0] & 2))

    whole = _shaken(fresh(), [data[2:]])
    cut = _shaken(fresh(), pieces(data[2:], [data[1] * 8 + 1]))
    assert whole == cut, "a handshake depends on how its bytes are cut"


def _shaken(side: Handshake, parts: Iterable[bytes]) -> tuple[str, bool, bytes, bytes]:
    """(what went wrong, whether it is done, what it says, what came behind it)."""
    rest = b""
    said = side.data_to_send()
    try:
        for part in parts:
            if side.done:
                rest += part
            else:
                rest += side.feed(part) or b""
                said += side.data_to_send()
    except ProtocolError as error:
        return str(error), side.done, said, b""
    return "", side.done, said, rest


def fuzz_chunk(data: bytes) -> None:
    """Byte 0: into what pieces the rest is cut, and (bit 7) whether limits are the small ones."""
    if not data:
        return
    limits = SMALL if data[0] & 0x80 else RtmpLimits()
    body = data[1:]
    whole = _chunks(limits, [body])
    cut = _chunks(limits, pieces(body, [(data[0] & 0x7F) + 1]))
    # Whether a peer repeats extended timestamps can only be guessed from what is there yet.
    if b"\xff\xff\xff" not in body:
        assert whole == cut, "messages depend on how their bytes are cut"


def _chunks(limits: RtmpLimits, parts: Iterable[bytes]) -> tuple[str, list[Message]]:
    reader = ChunkReader(limits)
    out: list[Message] = []
    fed = 0
    wrong = ""
    try:
        for part in parts:
            fed += len(part)
            reader.read(part, out)
            assert reader.bytes_read == fed
    except ProtocolError as error:
        wrong = str(error)
    held = sum(len(piece) for stream in reader._streams.values() for piece in stream.parts)
    assert held == reader._partial, "bytes held and bytes counted differ"
    assert held <= fed
    assert reader.message_end <= fed
    assert sum(len(message.payload) for message in out) <= fed
    return wrong, out


def _twice(data: bytes, limits: amf0.AmfLimits) -> list[amf0.AmfValue]:
    """What ``data`` holds, and holds still when it has been written and read again."""
    values = amf0.decode(data, limits)
    written = amf0.encode(*values)
    # Letters that were none have become longer ones.
    again = amf0.decode(written, amf0.AmfLimits(limits.depth, limits.nodes, 4 * limits.string_bytes))
    assert amf0.encode(*again) == written
    return values


def fuzz_amf0(data: bytes) -> None:
    """Byte 0, bit 0: whether limits are small ones."""
    if data:
        small = amf0.AmfLimits(SMALL.amf_depth, SMALL.amf_nodes, SMALL.amf_string_bytes)
        with contextlib.suppress(ProtocolError):
            _twice(data[1:], small if data[0] & 1 else amf0.AmfLimits())


def fuzz_message(data: bytes) -> None:
    """Byte 0: which reader the rest goes to."""
    if not data:
        return
    body = data[1:]
    limits = amf0.AmfLimits()
    with contextlib.suppress(ProtocolError):
        match data[0] % 6:
            case 0:
                read_u32(body, "control message")
            case 1:
                read_user_control(body)
            case 2:
                parts = split_aggregate(Message(22, 1, 0xFFFFFFF0, body, 99))
                assert sum(len(part.payload) for part in parts) <= len(body)
                assert all(0 <= part.timestamp < 1 << 32 for part in parts)
            case 3:
                command = read_command(17, body, limits)
                command.text(0)
                command.number(1)
                if isinstance(command.properties, dict):
                    fourccs_of(command.properties)
            case 4:
                app, _, name = body.decode("utf-8", "surrogateescape").partition("\n")
                split_publish(app, name)
            case _:
                url = parse_rtmp_url(body.decode("utf-8", "surrogateescape"))
                assert parse_rtmp_url(url.tc_url).host == url.host
                split_stream(url)


def fuzz_conversation(data: bytes) -> None:
    """Byte 0: role (bit 0), mode (bit 1), limits (bit 2), how requests are answered (bits 3 to 7).

    Then messages: type, stream, length (2 bytes), payload. At the end all that was said can be read by a peer.
    """
    if not data:
        return
    limits = SMALL if data[0] & 4 else RtmpLimits()
    connection: Connection
    if data[0] & 1:
        connection = ServerConnection(nonce=NONCE, now=0.0, limits=limits)
    else:
        mode = "play" if data[0] & 2 else "publish"
        connection = ClientConnection(
            app="live", tc_url="rtmp://h/live", stream_name="KEY", nonce=NONCE, now=0.0, limits=limits,
            mode=mode,  # type: ignore[arg-type]
        )  # fmt: skip
    said = connection.data_to_send()
    said += _talk(connection, data)
    skip = len(said) - len(said[3073:]) if connection.handshaken else len(said)
    heard: list[Message] = []
    ChunkReader().read(said[skip:], heard)
    for spoken in heard:
        if spoken.type_id in (18, 20):
            amf0.decode(spoken.payload)


def _talk(connection: Connection, data: bytes) -> bytes:
    said = b""
    with contextlib.suppress(ProtocolError):
        connection.receive(b"\x03" + bytes(8) + NONCE[8:1536] + bytes(1536), 0.0)
        said += connection.data_to_send()
        at, turn, chunk_size = 1, 3, 128
        app = ""
        while at + 4 <= len(data):
            type_id, stream_id = TYPES[data[at] & 15], data[at + 1]
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            payload = data[at + 4 : at + 4 + size]
            at += 4 + size
            sent = write_message(type_id, stream_id, at, payload, chunk_size=chunk_size, csid=3 + (stream_id & 7))
            if type_id == 1 and len(payload) >= 4:
                chunk_size = max(1, int.from_bytes(payload[:4], "big"))
            for event in connection.receive(sent, at / 100):
                if isinstance(event, events.Connected):
                    app = event.app
                elif isinstance(event, events.MetadataReceived):
                    amf0.encode(flv.describe((None, None), event.values))
                elif isinstance(event, events.PublishRequested | events.PlayRequested):
                    assert isinstance(connection, ServerConnection)
                    turn = 3 if turn == 7 else turn + 1
                    _answer(connection, event, app, accepts=bool(data[0] >> turn & 1))
            said += connection.data_to_send()
    if isinstance(connection, ServerConnection):
        connection.end_play(1)
        connection.close("the end")
    elif isinstance(connection, ClientConnection):
        connection.unpublish()
    return said + connection.data_to_send()


def _answer(
    server: ServerConnection, asked: events.PublishRequested | events.PlayRequested, app: str, *, accepts: bool
) -> None:
    try:
        split_publish(app, asked.name)
    except LimitError as error:
        raise AssertionError("names have no limit of their own") from error
    except ProtocolError:
        accepts = False
    if isinstance(asked, events.PublishRequested):
        if accepts:
            server.accept_publish(asked.stream_id)
        else:
            server.refuse_publish(asked.stream_id, "no")
    elif accepts:
        server.accept_play(asked.stream_id)
    else:
        server.refuse_play(asked.stream_id, "no")
