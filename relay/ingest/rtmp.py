"""RTMP and RTMPS doors: encoders publish here and players pull; bytes in, packets to the hub, once per tick."""

import asyncio
import contextlib
import ssl
from collections import Counter

import structlog

from relay.budget import ConnectionBudget
from relay.certificates import Certificate
from relay.config import Settings
from relay.hub import Hub, Ticker
from relay.ingest.admission import Admission
from relay.ingest.links import Links
from relay.ingest.rtmp_connection import RtmpConnection
from relay.ingest.rtmp_wire import READ_BUFFER_BYTES, STRANGER_BYTES
from relay.listen import Listener, listen
from relay.protocol.rtmp.limits import rtmp_limits

SWEEP_S = 0.5
FAREWELL_S = 2.0

log = structlog.get_logger(__name__)


class RtmpStats:
    """Counters of the whole door; metrics read them at scrape."""

    __slots__ = ("connections", "limit_hits", "open")

    def __init__(self, limit_hits: Counter[str]) -> None:
        self.connections = 0
        self.open = 0
        self.limit_hits = limit_hits


class RtmpIngest:
    """Listens for RTMP (and RTMPS when a certificate is configured) and runs every connection made to it."""

    def __init__(
        self,
        hub: Hub,
        admission: Admission,
        links: Links,
        settings: Settings,
        ticker: Ticker,
        budget: ConnectionBudget,
    ) -> None:
        self.hub = hub
        self.links = links
        self.admission = admission
        self.settings = settings
        self.ticker = ticker
        self.stats = RtmpStats(budget.hits)
        self.budget = budget
        self.limits = rtmp_limits(settings.limits)
        self.bytes_received = links.bytes_received
        # One buffer serves every connection: a read is parsed to its end before the next begins.
        self.buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self.small_buffer = self.buffer[:STRANGER_BYTES]
        self._connections: set[RtmpConnection] = set()
        self.ports: list[int] = []  # in use, plain first: what was asked for, or what the system chose for port 0
        self.certificate: Certificate | None = None
        self.listeners: list[Listener] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._all_closed: asyncio.Event | None = None

    async def start(self) -> None:
        """Open the listeners. Raises ConfigError when an address is taken or a certificate cannot be read."""
        rtmp = self.settings.rtmp
        await self._listen("listen", None)
        if rtmp.tls_certificate is not None:
            self.certificate = Certificate("rtmps", rtmp.tls_certificate, rtmp.tls_key, "rtmp")
            await self._listen("tls_listen", self.certificate.context)
        self._sweep()

    async def _listen(self, key: str, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        listener = await listen(
            lambda place: RtmpConnection(self, loop, place, encrypted=tls is not None),
            getattr(self.settings.rtmp, key),
            tls,
            what="RTMP",
            setting=f"rtmp.{key}",
            handshake_s=self.settings.limits.handshake_s,
            budget=self.budget,
        )
        self.listeners.append(listener)
        self.ports.append(listener.port)

    async def close(self) -> None:
        """Stop listening, tell every peer, and wait briefly until their sockets are closed."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for listener in self.listeners:
            listener.close()
        for connection in tuple(self._connections):
            connection.end("the relay is shutting down", clean=False)  # its recording goes on after the restart
        if self._connections:
            self._all_closed = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), FAREWELL_S)
        for connection in tuple(self._connections):
            connection.abort()

    # --- called by connections ---------------------------------------------------------------------------------

    def opened(self, connection: "RtmpConnection") -> None:
        self.stats.connections += 1
        self.stats.open += 1
        self._connections.add(connection)

    def closed(self, connection: "RtmpConnection") -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self.stats.open -= 1
            if self._all_closed is not None and not self._connections:
                self._all_closed.set()

    def _sweep(self) -> None:
        """Deadlines and late acknowledgements of all connections, on one timer."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.check(now)
        if not self._closing:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)
