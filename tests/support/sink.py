"""A test destination: an RTMP server that takes anything and keeps lists of it, or misbehaves on purpose."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from relay.errors import ProtocolError
from relay.protocol.rtmp.chunk import Message
from relay.protocol.rtmp.events import Connected, MetadataReceived, PublishRequested, Unpublished
from relay.protocol.rtmp.server import ServerConnection
from tests.support.listing import VIDEO, Listing


@dataclass
class Arrival:
    """One connection made to a sink and what came over it."""

    opened_at: float
    app: str = ""
    name: str = ""
    connect: Connected | None = None
    listing: Listing = field(default_factory=Listing)
    times: list[float] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """The kinds of the first messages: metadata, video header, audio header, keyframe, video, audio."""
    goodbye: bool = False
    error: str = ""
    closed_at: float | None = None

    def take(self, message: Message) -> None:
        before = len(self.listing.items)
        headers = len(self.listing.headers)
        self.listing.add(message.type_id, message.timestamp, message.payload)
        self.times.append(time.monotonic())
        if len(self.order) >= 16:
            return
        if len(self.listing.headers) > headers:
            self.order.append(f"{'video' if message.type_id == VIDEO else 'audio'} header")
        elif len(self.listing.items) > before:
            item = self.listing.items[-1]
            self.order.append("keyframe" if item.track == "video" and item.is_keyframe else item.track)


@dataclass
class Behaviour:
    """How a sink misbehaves. Times count from the moment a connection is accepted."""

    handshake: bool = True
    """False: accept TCP, then never say a word."""
    answer_publish: bool = True
    refuse: Callable[[str, str], str | None] = lambda app, name: None
    """The words to refuse (app, key) with, or None."""
    close_after_s: float | None = None
    reset: bool = False
    """Close by RST rather than FIN."""
    stop_reading_after_s: float | None = None
    bytes_per_s: float | None = None
    receive_bytes: int | None = None
    """The socket's receive buffer: a small one leaves what is not read to the sender."""


class Sink:
    """Listens on ``port``; ``url`` is what a destination needs. Use as an async context manager."""

    def __init__(self, behaviour: Behaviour | None = None, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.connections: list[Arrival] = []
        self.port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'rtmps' if self._tls else 'rtmp'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}/sink"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        if self.behaviour.receive_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.behaviour.receive_bytes)
        self._server = await asyncio.start_server(self._serve, sock=listening, ssl=self._tls, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    def of(self, name: str) -> list[Arrival]:
        """The connections that published with key ``name``."""
        return [arrival for arrival in self.connections if arrival.name == name]

    def only(self, name: str) -> Arrival:
        """The one connection with key ``name``; AssertionError when there were more or none."""
        found = self.of(name)
        assert len(found) == 1, f"{len(found)} connections with key {name}, not one: {found}"
        return found[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        arrival = Arrival(time.monotonic())
        self.connections.append(arrival)
        try:
            await self._converse(arrival, reader, writer)
        except asyncio.CancelledError:
            arrival.error = "the sink was closed"
        except (OSError, ProtocolError, TimeoutError) as error:
            arrival.error = f"{type(error).__name__}: {error}"
        finally:
            arrival.closed_at = time.monotonic()
            self._tasks.discard(task)
            if self.behaviour.reset:
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _converse(self, arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        if not behaviour.handshake:
            await asyncio.sleep(behaviour.close_after_s or 3600)
            return
        connection = ServerConnection(nonce=os.urandom(3072), now=time.monotonic())
        acknowledged = 0
        while True:
            age = time.monotonic() - arrival.opened_at
            if behaviour.stop_reading_after_s is not None and age > behaviour.stop_reading_after_s:
                await asyncio.sleep(behaviour.close_after_s or 3600)
                return
            left = None if behaviour.close_after_s is None else max(0.0, behaviour.close_after_s - age)
            async with asyncio.timeout(left):
                data = await reader.read(65536)
            if not data:
                return
            if behaviour.bytes_per_s is not None:
                await asyncio.sleep(len(data) / behaviour.bytes_per_s)
            refused = self._handle(arrival, connection, data)
            if connection.received - acknowledged > 500_000:
                acknowledged = connection.received
                connection.acknowledge(acknowledged)
            answer = connection.data_to_send()
            if answer:
                writer.write(answer)
                await writer.drain()
            if refused:
                return

    def _handle(self, arrival: Arrival, connection: ServerConnection, data: bytes) -> bool:
        """Take in ``data``; true when the connection should be closed."""
        behaviour = self.behaviour
        events = connection.receive(data, time.monotonic())
        while events:
            event = events.pop(0)
            match event:
                case Message():
                    arrival.take(event)
                case MetadataReceived():
                    arrival.listing.metadata += 1
                    arrival.order.append("metadata")
                case Connected():
                    arrival.connect = event
                    arrival.app = event.app
                case PublishRequested():
                    arrival.name = event.name
                    words = behaviour.refuse(arrival.app, event.name)
                    if words is not None:
                        connection.refuse_publish(event.stream_id, words)
                        return True
                    if behaviour.answer_publish:
                        events = [*connection.accept_publish(event.stream_id), *events]
                case Unpublished():
                    arrival.goodbye = True
        return False
