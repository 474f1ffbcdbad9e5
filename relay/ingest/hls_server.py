"""HTTP server for uploads: bounded connections, a deadline for the first request, one handler for every request."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.web_protocol import RequestHandler

from relay import listen
from relay.budget import ConnectionBudget, Place
from relay.config import LimitSettings

KEEPALIVE_S = 75.0  # encoders keep a connection from one segment to the next
LINGER_S = 5.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
log = structlog.get_logger("relay.ingest.hls")


class UploadConnection(RequestHandler):
    """One client's connection: counted from its first byte to its last."""

    __slots__ = ("_ended", "_listener", "_silence", "place")

    def __init__(self, manager: "UploadServer", loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, **options)
        self._listener = manager.listener
        self._silence: asyncio.TimerHandle | None = None
        self._ended = ""
        self.place: Place | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.place is not None
        self.place.close = self._make_room
        self._listener.open += 1
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(self._listener.limits.http_deadline_s, self._silent)

    def _make_room(self) -> None:
        assert self.place is not None
        self._ended = self.place.evicted
        self.force_close()

    def _silent(self) -> None:
        deadline_s = self._listener.limits.http_deadline_s
        self._ended = f"no whole request within {deadline_s:g} s"
        self._listener.budget.hits["http_headers"] += 1
        self.force_close()

    def heard(self) -> None:
        """A whole request head has come."""
        if self.place is not None:
            self.place.greeted = True
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def authenticated(self) -> None:
        """It has shown a right key."""
        assert self.place is not None
        self.place.authenticate()

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
        assert self.place is not None
        self._listener.open -= 1
        self.place.leave()
        # Encoders open one for each segment: theirs are told of only where every detail is.
        say = log.debug if self.place.authenticated else log.info
        reason = self._ended or (str(exc) if exc else "closed")
        say("upload connection ended", address=self.place.address, reason=reason)


class UploadServer(web.Server):
    """Makes connections of our kind."""

    def __init__(self, listener: "Listener", handler: Handler) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
            logger=listen.Quiet(),
        )
        self.listener = listener

    def __call__(self) -> UploadConnection:
        return UploadConnection(self, self._loop, **self._kwargs)


class Listener:
    """One address. ``open`` counts the connections there are."""

    def __init__(self, limits: LimitSettings, handler: Handler, budget: ConnectionBudget) -> None:
        self.limits = limits
        self.budget = budget
        self.open = 0
        self.port = 0  # in use: what was asked for, or what the system chose for port 0
        self._handler = handler
        self._going_on: set[asyncio.Future[web.StreamResponse]] = set()
        self._server: UploadServer | None = None
        self._door: listen.Listener | None = None

    def go_on(self, request: web.BaseRequest) -> None:
        """Take a whole request whose client is gone."""
        task = asyncio.ensure_future(self._handler(request))
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)

    @property
    def is_resting(self) -> bool:
        """Whether no connection can be taken just now: there are no descriptors left."""
        return self._door is not None and self._door.is_resting

    async def start(self, address: str, tls: ssl.SSLContext | None) -> None:
        """Listen on ``address``. Raises ConfigError when it is taken."""
        self._server = server = UploadServer(self, self._handler)

        def connect(place: Place) -> UploadConnection:
            connection = server()
            connection.place = place
            return connection

        self._door = await listen.listen(
            connect,
            address,
            tls,
            what="HLS uploads",
            setting="ingest_http.listen",
            handshake_s=self.limits.handshake_s,
            budget=self.budget,
        )
        self.port = self._door.port

    async def close(self, within_s: float) -> None:
        """Stop listening; requests under way have ``within_s`` to be answered."""
        if self._door is not None:
            self._door.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(within_s)
