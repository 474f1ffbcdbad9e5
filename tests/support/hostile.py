"""Hostile servers: RTMP destinations and sources that misbehave on purpose, each in its own way.

``KINDS`` has them by name. ``python -m tests.support.hostile NAME …`` serves some of them until it is ended.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from relay.errors import ProtocolError
from relay.protocol.amf0 import encode
from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.events import PlayRequested, PublishRequested
from relay.protocol.rtmp.message import MessageType
from relay.protocol.rtmp.server import ServerConnection

DEAF_S = 15.0
GIGABYTE = 1_000_000_000
_BLOCK = bytes(256 * 1024)


class Peer:
    """One connection, as a hostile server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.connection = ServerConnection(nonce=os.urandom(3072), now=0.0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hush(self) -> None:
        """Take what comes, without a word."""
        while await self.reader.read(1 << 18):
            pass

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Take what comes meanwhile."""
        task = asyncio.create_task(self.hush())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def deaf(self) -> None:
        """Take nothing more. A peer that gives up a full connection cannot tell: this does not wait for it."""
        self.writer.transport.pause_reading()
        await asyncio.sleep(DEAF_S)
        self.reset()

    async def pour(self, piece: bytes, total: int = GIGABYTE) -> None:
        """Send ``piece`` again and again, ``total`` bytes in all, whether it is read or not."""
        block = piece * (1 + len(_BLOCK) // len(piece)) if len(piece) < len(_BLOCK) else piece
        async with self.reading():
            while total > 0:
                await self.send(block)
                total -= len(block)

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    # --- steps of a conversation ----------------------------------------------------------------------------------

    async def handshaken(self) -> None:
        self.connection.receive(await self.reader.readexactly(1537), 0.0)
        await self.send(self.connection.data_to_send())
        await self.reader.readexactly(1536)

    async def asked(self, name: bytes) -> None:
        """Return once a command of that name has come; nothing is answered."""
        seen = b""
        while name not in seen:
            seen = seen[-100:] + (data := await self.reader.read(65536))
            if not data:
                raise ConnectionResetError

    async def connected(self) -> None:
        await self.handshaken()
        await self.asked(b"connect")
        await self.send(command("_result", 1, {"fmsVer": "FMS/3"}, {"code": "NetConnection.Connect.Success"}))

    async def created(self) -> None:
        await self.connected()
        await self.asked(b"createStream")
        await self.send(command("_result", 4, None, 1))

    async def live(self) -> None:
        """Take a publish, or a play, as a good server does."""
        while True:
            data = await self.reader.read(65536)
            if not data:
                raise ConnectionResetError
            for event in self.connection.receive(data, time.monotonic()):
                if isinstance(event, PublishRequested):
                    self.connection.accept_publish(event.stream_id)
                elif isinstance(event, PlayRequested):
                    self.connection.accept_play(event.stream_id)
                else:
                    continue
                await self.send(self.connection.data_to_send())
                return
            await self.send(self.connection.data_to_send())


Behave = Callable[[Peer], Awaitable[None]]
Step = Callable[[Peer], Awaitable[None]]


def message(type_id: int, payload: bytes, *, csid: int = 3, stream_id: int = 0, chunk_size: int = 128) -> bytes:
    return write_message(type_id, stream_id, 0, payload, chunk_size=chunk_size, csid=csid)


def command(*values: object) -> bytes:
    return message(MessageType.COMMAND, encode(*values))  # type: ignore[arg-type]


def header(type_id: int, length: int) -> bytes:
    """Of a message that is announced only."""
    return b"\x06\0\0\0" + length.to_bytes(3, "big") + bytes((type_id,)) + b"\1\0\0\0"


async def _accepted(peer: Peer) -> None:
    """Nothing but the connection."""


def then(step: Step, *more: bytes | Step) -> Behave:
    """Come as far as ``step``, then send bytes and do things, then stay silent until the other side goes."""

    async def behave(peer: Peer) -> None:
        await step(peer)
        for item in more:
            if isinstance(item, bytes):
                await peer.send(item)
            else:
                await item(peer)
        await peer.hush()

    return behave


def pour(piece: bytes) -> Step:
    return lambda peer: peer.pour(piece)


async def half_close(peer: Peer) -> None:
    peer.writer.write_eof()


async def reset(peer: Peer) -> None:
    peer.reset()


async def close(peer: Peer) -> None:
    peer.writer.close()


def take(seconds: float) -> Step:
    """Take what comes for so long."""

    async def taking(peer: Peer) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await peer.hush()

    return taking


def drip(piece: bytes) -> Step:
    """A little every 50 ms, for ever: absolute deadlines end that, others do not."""

    async def dripping(peer: Peer) -> None:
        async with peer.reading() as reading:
            while not reading.done():
                await peer.send(piece)
                await asyncio.sleep(0.05)

    return dripping


@dataclass(frozen=True, slots=True)
class Kind:
    """``outcomes``: the short names its attempts may end under. ``words``: what the error shown says.

    ``rejects``: it is asked again only after long. ``stays``: nothing ends it.
    """

    behave: Behave
    outcomes: frozenset[str]
    words: str
    tls: str = ""  # "stall": TLS that stops halfway; else how its certificate is: good, expired, other
    rejects: bool = False
    buffer: int = 0  # of its socket; 0: the system's


def kind(behave: Behave, outcomes: str, words: str, **more: object) -> Kind:
    return Kind(behave, frozenset(outcomes.split()), words, **more)  # type: ignore[arg-type]


_PING = message(MessageType.USER_CONTROL, b"\0\6\0\0\0\1", csid=2)
_BEGIN = message(MessageType.USER_CONTROL, b"\0\0\0\0\0\1", csid=2)
_VIDEO = message(9, b"\x17\1\0\0\0" + bytes(50_000), csid=6, stream_id=1, chunk_size=60_000)
_TALK = message(9, bytes(60_000), csid=6)
_TOO_FAR = "goes too far: "  # which limit is met first depends on how much comes at once
_REJECTED = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "moved"}
_REDIRECT = {**_REJECTED, "ex": {"code": 302.0, "redirect": "rtmp://127.0.0.1:1/app"}}
_BAD_NAME = {"level": "error", "code": "NetStream.Publish.BadName", "description": "no such key \x1b[31m\nred"}
_DEEP = b"\2\0\7_result\0\x3f\xf0\0\0\0\0\0\0" + b"\3\0\1a" * 40
_CHUNKS = [message(1, size.to_bytes(4, "big"), csid=2) for size in (1, 0x7FFFFFFF)]

KINDS: dict[str, Kind] = {
    # never answers, at each step
    "silent": kind(then(_accepted), "timeout", "never answered the RTMP handshake"),
    "half a handshake": kind(then(_accepted, b"\3" + bytes(1000)), "timeout", "never answered the RTMP handshake"),
    "silent to connect": kind(then(Peer.handshaken), "timeout", "never answered connect"),
    "silent to createStream": kind(then(Peer.connected), "timeout", "never answered publish"),
    "silent to publish": kind(then(Peer.created), "timeout", "never answered publish"),
    "drips a handshake": kind(then(_accepted, b"\3", drip(b"\0")), "timeout", "never answered the RTMP handshake"),
    "pings instead of answers": kind(then(Peer.handshaken, drip(_PING)), "timeout", "never answered connect"),
    # 1 GB of it
    "1 GB at once": kind(then(_accepted, pour(_BLOCK)), "protocol", "not RTMP"),
    "1 GB instead of an answer": kind(then(Peer.handshaken, pour(_TALK)), "limit", "and no publish accepted"),
    "1 GB while live": kind(then(Peer.live, pour(_VIDEO)), "limit", _TOO_FAR),
    "1 GB of pings": kind(then(Peer.live, pour(_PING)), "limit", _TOO_FAR),
    "1 GB of events": kind(then(Peer.live, pour(_BEGIN)), "limit", _TOO_FAR),
    "1 GB of commands": kind(then(Peer.live, pour(command("onBWDone", 0, None))), "limit", _TOO_FAR),
    "1 GB of Acknowledgements": kind(then(Peer.live, pour(message(3, bytes(4), csid=2))), "limit", _TOO_FAR),
    # garbage
    "HTTP": kind(then(_accepted, b"HTTP/1.1 400 Bad Request\r\n\r\n", close), "protocol", "this is HTTP"),
    "garbage": kind(then(Peer.handshaken, b"\xff" * 5000), "protocol limit", "does not speak RTMP as it should"),
    "garbage while live": kind(then(Peer.live, b"\xff" * 5000), "protocol limit", "does not speak RTMP as it should"),
    "AMF bomb": kind(then(Peer.handshaken, message(20, _DEEP)), "limit", "nested deeper than 16"),
    "announces 16 MiB": kind(then(Peer.live, header(9, 0xFFFFFF)), "limit", "16777215 bytes; 4194304 allowed"),
    "announces 4 MiB": kind(then(Peer.handshaken, header(9, 1 << 22), bytes(100)), "timeout", "never answered connect"),
    "chunk size 1": kind(then(Peer.live, _CHUNKS[0]), "limit", "chunk size 1"),
    "chunk size 2^31-1": kind(
        then(Peer.handshaken, _CHUNKS[1], header(9, 1 << 22), pour(_BLOCK)), "limit", "and no publish accepted"
    ),
    "any chunk stream": kind(
        then(Peer.live, b"".join(bytes((0, n)) + header(9, 1000)[1:] + bytes(1000) for n in range(80))),
        "limit",
        _TOO_FAR,
    ),
    # ends of connections
    "half-closes": kind(then(_accepted, half_close), "closed", "closed the connection before taking the stream"),
    "half-closes later": kind(then(Peer.handshaken, half_close), "closed", "closed the connection before"),
    "half-closes while live": kind(then(Peer.live, half_close), "closed", "closed the connection"),
    "closes": kind(then(_accepted, close), "closed", "onnect"),
    "resets": kind(then(_accepted, reset), "closed connect", "onnect"),
    "resets while live": kind(then(Peer.live, reset), "closed", "lost the connection"),
    "closes every 5 s": kind(then(Peer.live, take(5), close), "closed", "the connection"),
    "takes nothing": kind(then(Peer.live, Peer.deaf), "stalled", "has taken nothing for", buffer=4096),
    # says no
    "redirects": kind(
        then(Peer.handshaken, command("_error", 1, None, _REDIRECT)), "rejected", "which is not followed: moved",
        rejects=True,
    ),
    "knows no such key": kind(
        then(Peer.created, command("onStatus", 0, None, _BAD_NAME)), "rejected", "no such key  [31m red", rejects=True
    ),
    # TLS
    "TLS that stops halfway": kind(then(_accepted), "timeout", "never answered the TLS handshake", tls="stall"),
    "no TLS": kind(then(_accepted, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls", "TLS with", tls="none"),
    "expired certificate": kind(then(_accepted), "certificate", "certificate has expired", tls="expired"),
    "another host's certificate": kind(then(_accepted), "certificate", "Hostname mismatch", tls="other"),
    "1 GB by TLS": kind(then(Peer.handshaken, pour(_TALK)), "limit", "and no publish accepted", tls="good"),
}  # fmt: skip
# The beginning of a ServerHello, of which the rest never comes.
_HALF_HELLO = b"\x16\3\3\0\x7a\2\0\0\x76\3\3" + bytes(40)


class Hostile:
    """A server of one kind, as an asynchronous context manager. ``url`` is for a destination or a source.

    ``connections`` counts them, ``open`` those there are. ``contexts``: TLS by how the certificate is.
    """

    def __init__(self, kind: Kind, contexts: dict[str, ssl.SSLContext] | None = None, *, host: str = "") -> None:
        self.kind = kind
        self.connections = 0
        self.port = 0
        self._tls = (contexts or {}).get(kind.tls)
        self._host = host or ("localhost" if kind.tls else "127.0.0.1")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'rtmps' if self.kind.tls else 'rtmp'}://{self._host}:{self.port}/app"

    @property
    def open(self) -> int:
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        if self.kind.buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.kind.buffer)
        self._server = await asyncio.start_server(self._serve, sock=listening, backlog=1024)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            if self.kind.tls == "stall":
                await reader.read(100)
                writer.write(_HALF_HELLO)
            elif self._tls is not None:
                await writer.start_tls(self._tls)
            await self.kind.behave(Peer(reader, writer))
        except asyncio.CancelledError:
            writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ProtocolError):
            pass  # the other side went away
        except RuntimeError:
            if not writer.transport.is_closing():
                raise  # uvloop's word for writing to a connection that has gone is this one
        finally:
            self._tasks.discard(task)
            writer.close()
