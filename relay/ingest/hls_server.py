"""HTTP server for uploads: bounded connections, a deadline for the first request, one handler for every request."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.web_protocol import RequestHandler

from relay.config import LimitSettings
from relay.errors import LimitError
from relay.ingest.base import ConnectionBudget
from relay.listen import Quiet, listen

KEEPALIVE_S = 75.0  # encoders keep a connection from one segment to the next
LINGER_S = 5.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
log = structlog.get_logger("relay.ingest.hls")


class UploadConnection(RequestHandler):
    """One client's connection: counted from its first byte to its last."""

    __slots__ = ("_address", "_authenticated", "_is_counted", "_listener", "_silence")

    def __init__(self, manager: "UploadServer", loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, **options)
        self._listener = manager.listener
        self._silence: asyncio.TimerHandle | None = None
        self._address = "?"
        self._is_counted = False
        self._authenticated = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else "?"
        try:
            self._listener.budget.enter(self._address)
        except LimitError as error:
            self._listener.refused(self._address, error)
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            return
        self._is_counted = True
        self._listener.open += 1
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(self._listener.limits.http_deadline_s, self.force_close)

    def heard(self) -> None:
        """A whole request head has come."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def authenticated(self) -> None:
        """It has shown a right key."""
        if not self._authenticated and self._is_counted:
            self._authenticated = True
            self._listener.budget.authenticated()

    def connection_lost(self, exc: BaseException | None) -> None:
        request = self._current_request
        if request is not None and request.content.is_eof():
            # ffmpeg closes without waiting for the answer; what it sent is whole, and is not to be thrown away.
            self._current_request = None
        if self._request_factory is not None:
            # The same for requests it sent behind one that is still waiting for its answer.
            loop = asyncio.get_running_loop()
            for message, payload in self._messages:
                if payload.is_eof() and isinstance(message, RawRequestMessage):
                    writer = StreamWriter(self, loop)
                    assert self._task_handler is not None
                    self._listener.go_on(self._request_factory(message, payload, self, writer, self._task_handler))
            self._messages.clear()
        super().connection_lost(exc)
        self.heard()
        if self._is_counted:
            self._is_counted = False
            self._listener.open -= 1
            self._listener.budget.leave(self._address, authenticated=self._authenticated)


class UploadServer(web.Server):
    """Makes connections of our kind."""

    def __init__(self, listener: "Listener", handler: Handler) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
            logger=Quiet(),
        )
        self.listener = listener

    def __call__(self) -> RequestHandler:
        return UploadConnection(self, self._loop, **self._kwargs)


class Listener:
    """One address. ``on_refused`` is told which limit turned a connection away; ``open`` counts those there are."""

    def __init__(self, limits: LimitSettings, handler: Handler, on_refused: Callable[[str], None]) -> None:
        self.limits = limits
        self.budget = ConnectionBudget(limits)
        self.open = 0
        self.port = 0  # in use: what was asked for, or what the system chose for port 0
        self._handler = handler
        self._on_refused = on_refused
        self._going_on: set[asyncio.Future[web.StreamResponse]] = set()
        self._server: UploadServer | None = None
        self._socket: asyncio.Server | None = None

    def refused(self, address: str, error: LimitError) -> None:
        self._on_refused(error.limit)
        log.warning("connection refused", address=address, limit=error.limit, reason=str(error))

    def go_on(self, request: web.BaseRequest) -> None:
        """Take a whole request whose client is gone."""
        task = asyncio.ensure_future(self._handler(request))
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)

    async def start(self, address: str, tls: ssl.SSLContext | None) -> None:
        """Listen on ``address``. Raises ConfigError when it is taken."""
        self._server = UploadServer(self, self._handler)
        self._socket, self.port = await listen(
            self._server,
            address,
            tls,
            what="HLS uploads",
            setting="ingest_http.listen",
            handshake_s=self.limits.handshake_s,
        )

    async def close(self, within_s: float) -> None:
        """Stop listening; requests under way have ``within_s`` to be answered."""
        if self._socket is not None:
            self._socket.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(within_s)
