"""A test publisher: sends the tags of an FLV file over RTMP, paced or fast, and keeps the list of what it sent."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.events import Acknowledged, Ended, Established, Rejected
from tests.support.listing import SCRIPT, Listing, tags

_SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"
_CHUNK_STREAM = {8: 4, 9: 6, SCRIPT: 5}
_HANDSHAKE_BYTES = 1 + 2 * 1536


class Refused(Exception):
    """The server did not let the publisher in; the text is what an encoder would show."""


class Publisher:
    """One publishing connection. ``sent`` lists what went out, ``acknowledged`` the server's last number.

    ``ends`` has, for each access unit sent, the bytes behind the handshake up to its end, which is what an
    Acknowledgement counts, and when it was written (monotonic seconds); ``told`` the same of Acknowledgements.
    """

    def __init__(
        self,
        url: str,
        *,
        chunk_size: int = 4096,
        digest: bool = True,
        tls: ssl.SSLContext | None = None,
        with_metadata: bool = True,
        dial: Callable[[], socket.socket] | None = None,
    ) -> None:
        self.sent = Listing()
        self.acknowledged = 0
        self.ended: str | None = None
        self.bytes_sent = 0
        self.ends: list[tuple[int, float]] = []
        self.told: list[tuple[int, float]] = []
        self._position = -_HANDSHAKE_BYTES
        parts = urlsplit(url)
        app, _, name = parts.path.lstrip("/").rpartition("/")
        self._name = name + (f"?{parts.query}" if parts.query else "")
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 1935
        self._tls = tls
        self._with_metadata = with_metadata
        self._dial = dial
        self._answer: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._connection = ClientConnection(
            app=app,
            tc_url=f"{parts.scheme}://{parts.netloc}/{app}",
            stream_name=self._name,
            mode="publish",
            nonce=os.urandom(3072),
            now=time.monotonic(),
            digest=digest,
            chunk_size=chunk_size,
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abort()

    async def open(self, within: float = 15.0) -> None:
        """Connect and publish. Raises Refused with the server's words."""
        dialled: dict[str, Any] = {"host": self._host, "port": self._port, "ssl": self._tls}
        if self._dial is not None:
            made = self._dial()
            await asyncio.get_running_loop().sock_connect(made, (self._host, self._port))
            dialled = {"sock": made}
        self._reader, self._writer = await asyncio.open_connection(**dialled)
        self._answer = asyncio.get_running_loop().create_future()
        self._tasks.append(asyncio.create_task(self._read()))
        self._flush()
        try:
            async with asyncio.timeout(within):
                await self._answer
        except BaseException:
            await self.abort()
            raise

    async def send(
        self, path: Path, *, speed: float | None = 1.0, offset_ms: int = 0, until_ms: int | None = None
    ) -> None:
        """Send every tag of ``path``: at ``speed`` × real time, or as fast as it goes (``None``)."""
        await self.send_tags(list(tags(path.read_bytes())), speed=speed, offset_ms=offset_ms, until_ms=until_ms)

    async def send_tags(
        self,
        all_tags: list[tuple[int, int, bytes]],
        *,
        speed: float | None = 1.0,
        offset_ms: int = 0,
        until_ms: int | None = None,
    ) -> None:
        """As ``send``, for tags read before. A server that closes meanwhile ends it with ConnectionError."""
        started = time.monotonic()
        first = min((stamp for type_id, stamp, _ in all_tags if type_id != SCRIPT), default=0)
        for type_id, stamp, body in all_tags:
            if until_ms is not None and stamp > until_ms:
                break
            if speed is not None:
                early = (stamp - first) / 1000 / speed - (time.monotonic() - started)
                if early > 0.005:
                    await asyncio.sleep(early)
            if self.ended is not None:
                raise ConnectionError(f"the server ended the publish: {self.ended}")
            self.send_tag(type_id, stamp + offset_ms, body)
            if speed is None or self._writer.transport.get_write_buffer_size() > 65536:
                await self._writer.drain()

    def send_tag(self, type_id: int, stamp: int, body: bytes) -> None:
        """Send one tag as a message of its own, noting it in ``sent``."""
        if type_id == SCRIPT:
            if not self._with_metadata:
                return
            body = _SET_DATA_FRAME + body
        self.sent.add(type_id, stamp, body)
        connection = self._connection
        data = write_message(
            type_id,
            connection.stream_id,
            stamp & 0xFFFFFFFF,
            body,
            chunk_size=connection.out_chunk_size,
            csid=_CHUNK_STREAM[type_id],
        )
        self.bytes_sent += len(data)
        self.write(data)
        if len(self.ends) < len(self.sent.items):
            self.ends.append((self._position, time.monotonic()))

    async def drain(self) -> None:
        """Wait while more than a little is still to be sent."""
        if self._writer.transport.get_write_buffer_size() > 65536:
            await self._writer.drain()

    def write(self, data: bytes) -> None:
        """Send bytes of the test's own making."""
        self._position += len(data)
        self._writer.write(data)

    async def close(self) -> None:
        """Say goodbye (FCUnpublish, deleteStream), wait for the bytes to be taken, and close."""
        if self.ended is None:
            self._connection.unpublish()
            self._flush()
            with contextlib.suppress(OSError):
                await self._writer.drain()
                if not self._tls:
                    self._writer.write_eof()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await asyncio.gather(*self._tasks)
        await self.abort()

    async def abort(self) -> None:
        """Vanish without a word."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self.write(data)

    async def _read(self) -> None:
        answer = self._answer
        assert answer is not None
        try:
            while data := await self._reader.read(65536):
                for event in self._connection.receive(data, time.monotonic()):
                    match event:
                        case Established():
                            answer.set_result(None)
                        case Rejected() | Ended():
                            self.ended = f"{event.code}: {event.description}"
                        case Acknowledged():
                            self.acknowledged = event.sequence
                            self.told.append((event.sequence, time.monotonic()))
                self._flush()
                if self.ended is not None:
                    break
        except OSError as error:
            self.ended = self.ended or str(error) or type(error).__name__
        self.ended = self.ended or "closed by the server"
        if not answer.done():
            answer.set_exception(Refused(self.ended))
