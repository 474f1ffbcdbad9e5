"""One attempt at an RTMP or RTMPS destination: dial, publish, feed it the stream until either side ends."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

from relay.config import Settings
from relay.egress.address import resolve
from relay.egress.base import DestinationConfig, DestinationTotals
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError, DestinationRejectedError, ProtocolError
from relay.hub import BacklogLimit, Batch, Stream, Subscription
from relay.hub.feed import RtmpFeed
from relay.protocol.rtmp import events
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.state import ClientState
from relay.protocol.rtmp.url import RtmpUrl, parse_rtmp_url

WRITE_BUFFER_BYTES = 256 * 1024
GOODBYE_S = 2.0
_PHASES = {
    ClientState.HANDSHAKE: "accepted the connection but did not answer the RTMP handshake",
    ClientState.CONNECT: "did not answer connect; check the app in the URL",
    ClientState.PUBLISH: "did not answer publish; check the stream key",
}


def target(config: DestinationConfig) -> tuple[RtmpUrl, str]:
    """(URL, stream name) of a destination: without a key of its own, the URL's last path part is the name.

    Raises DestinationError for a URL that cannot be dialled.
    """
    try:
        url = parse_rtmp_url(config.url)
    except ProtocolError as error:
        raise DestinationError(str(error), "config") from error
    key = config.key.reveal()
    if key:
        return url, key
    path, _, query = url.app.partition("?")
    app, _, name = path.rpartition("/")
    if not app:
        raise DestinationError("there is no stream key, neither apart nor in the URL", "config")
    return RtmpUrl(url.scheme, url.host, url.port, app), f"{name}?{query}" if query else name


def client_tls(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 or later certificate and host name verified; ``outbound.ca_file`` is trusted as well as the system's."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.outbound.ca_file is not None:
        context.load_verify_locations(settings.outbound.ca_file)
    return context


class RtmpAttempt:
    """Runs once. ``on_live`` is called when the platform has taken the publish; totals are counted as it goes."""

    def __init__(
        self,
        config: DestinationConfig,
        stream: Stream,
        settings: Settings,
        totals: DestinationTotals,
        on_live: Callable[[], None],
        tls: Callable[[], Awaitable[ssl.SSLContext]],
    ) -> None:
        self._tls = tls
        self._config = config
        self._stream = stream
        self._settings = settings
        self._totals = totals
        self._on_live = on_live
        self._connection: DestinationConnection | None = None

    @property
    def subscription(self) -> Subscription | None:
        """The place in the stream, once live: its backlog and drops."""
        return self._connection.subscription if self._connection is not None else None

    async def run(self) -> None:
        """Dial, publish and feed until the stream ends (returns) or something fails (DestinationError)."""
        url, name = target(self._config)
        connection = self._connection = DestinationConnection(
            url, name, self._config, self._stream, self._settings, self._totals, self._on_live
        )
        transport = await self._dial(url, connection)
        try:
            await connection.finished
        finally:
            connection.leave()
            transport.abort()

    async def goodbye(self) -> None:
        """End an established publish politely, for a destination removed or disabled while live."""
        if self._connection is not None:
            await self._connection.goodbye()

    async def _dial(self, url: RtmpUrl, connection: "DestinationConnection") -> asyncio.Transport:
        settings = self._settings
        dial_s = settings.limits.dial_s
        addresses = await resolve(url.host, url.port, allow_private=settings.outbound.allow_private, timeout_s=dial_s)
        failure: DestinationError | None = None
        for address in addresses:
            try:
                return await self._connect(url, address.host, connection, dial_s)
            except DestinationError as error:
                failure = error
        assert failure is not None
        raise failure

    async def _connect(
        self, url: RtmpUrl, address: str, connection: "DestinationConnection", dial_s: float
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        where = f"{url.host}:{url.port}"
        tls: dict[str, object] = {}
        if url.is_tls:
            tls = {"ssl": await self._tls(), "server_hostname": url.host}
        try:
            async with asyncio.timeout(dial_s * (2 if url.is_tls else 1)):
                transport, _ = await loop.create_connection(lambda: connection, address, url.port, **tls)  # type: ignore[call-overload]
        except TimeoutError:
            what = "did not finish the TLS handshake" if url.is_tls else "did not accept the connection"
            raise DestinationError(f"{where} {what} within {dial_s:g} s", "timeout") from None
        except ssl.SSLCertVerificationError as error:
            raise DestinationError(
                f"the certificate of {where} is not valid: {error.verify_message}; "
                "for a server of your own set RELAY_OUTBOUND__CA_FILE",
                "certificate",
            ) from error
        except ssl.SSLError as error:
            raise DestinationError(f"TLS with {where} failed: {error.reason or error}", "tls") from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise DestinationError(f"cannot connect to {where}: {reason}", "connect") from error
        assert isinstance(transport, asyncio.Transport)
        return transport


class DestinationConnection(asyncio.Protocol):
    """The socket of one attempt. ``finished`` resolves when the stream is over, or fails with a DestinationError."""

    def __init__(
        self,
        url: RtmpUrl,
        name: str,
        config: DestinationConfig,
        stream: Stream,
        settings: Settings,
        totals: DestinationTotals,
        on_live: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._settings = settings
        self._totals = totals
        self._stream = stream
        self._on_live = on_live
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._feed: RtmpFeed | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._farewell: asyncio.Task[None] | None = None
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self.subscription: Subscription | None = None
        platform = PLATFORMS.get(config.platform, PLATFORMS["custom"])
        self._connection = ClientConnection(
            app=url.app,
            tc_url=url.tc_url,
            stream_name=name,
            nonce=os.urandom(3072),
            now=self._loop.time(),
            enhanced=platform.enhanced,
        )

    # --- asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        sock = transport.get_extra_info("socket")
        stall_ms = int(self._settings.limits.write_stall_s * 1000)
        # A link that died without a word shows as unacknowledged bytes: let the kernel give up on them in time.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._expect_answer()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.finished.done():
            return
        phase = self._connection.state
        try:
            received = self._connection.receive(data, self._loop.time())
        except ProtocolError as error:
            self._fail(DestinationError(f"{self._where} does not speak RTMP properly: {error}", "protocol"))
            return
        self._flush()
        for event in received:
            self._handle(event)
        if self._connection.state is not phase:
            self._expect_answer()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
        if self._connection.state is ClientState.LIVE:
            reason = f" ({error})" if error else ""
            self._fail(DestinationError(f"{self._where} closed the connection{reason}", "closed"))
        else:
            self._fail(
                DestinationError(
                    f"{self._where} closed the connection before taking the stream; check URL and key", "closed"
                )
            )

    def pause_writing(self) -> None:
        if self.subscription is not None:
            self.subscription.pause()
        self._expect_writable()

    def resume_writing(self) -> None:
        self._cancel_timer()
        if self.subscription is not None:
            self.subscription.resume()

    # --- the feed's side (hub.Reader) -------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        assert self._feed is not None
        self._feed.take(batch)

    def ended(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(DestinationError(f"feeding {self._where} failed: {type(error).__name__}: {error}", "internal"))
            return
        self._farewell = self._loop.create_task(self.goodbye())

    # --- conversation -----------------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Established():
                self._go_live(event.stream_id)
            case events.Rejected():
                words = f"{self._where} refused the stream: {event.description or event.code}"
                if event.final:
                    self._fail(DestinationRejectedError(f"{words} — check the stream key and that the event is open"))
                else:
                    self._fail(DestinationError(words, "refused"))
            case events.Ended():
                words = event.description or event.code
                self._fail(DestinationError(f"{self._where} ended the stream: {words}", "ended_by_platform"))
            case _:
                pass  # acknowledgements and the like

    def _go_live(self, stream_id: int) -> None:
        self._cancel_timer()
        limits = self._settings.limits
        self._feed = RtmpFeed(
            self._write,
            chunk_size=self._connection.out_chunk_size,
            stream_id=stream_id,
            publishing=True,
            metadata=self._stream.metadata,
        )
        self._on_live()
        backlog = BacklogLimit(int(limits.backlog_s * 1000), limits.backlog_bytes)
        self.subscription = self._stream.subscribe(self, backlog)

    async def goodbye(self) -> None:
        """Stop reading the stream, unpublish, let the last bytes go, close; ``finished`` then resolves."""
        self.leave()
        if not self.finished.done():
            self._connection.unpublish()
            self._flush()
            if self._transport is not None:
                self._transport.close()
                await asyncio.wait([self._closed], timeout=GOODBYE_S)
            if not self.finished.done():
                self.finished.set_result(None)

    def leave(self) -> None:
        """Give up the place in the stream and count what it dropped."""
        self._cancel_timer()
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            self._totals.dropped += subscription.dropped_packets
            subscription.close()

    def _fail(self, error: DestinationError) -> None:
        self.leave()
        if not self.finished.done():
            self.finished.set_exception(error)

    # --- deadlines --------------------------------------------------------------------------------------------

    def _expect_answer(self) -> None:
        self._cancel_timer()
        words = _PHASES.get(self._connection.state)
        if words is not None:
            self._timer = self._loop.call_later(self._settings.limits.dial_s, self._unanswered, words)

    def _unanswered(self, words: str) -> None:
        self._fail(DestinationError(f"{self._where} {words} within {self._settings.limits.dial_s:g} s", "timeout"))

    def _expect_writable(self) -> None:
        if self._connection.state is ClientState.LIVE and self._transport is not None:
            self._cancel_timer()
            stall_s = self._settings.limits.write_stall_s
            waiting = self._transport.get_write_buffer_size()
            self._timer = self._loop.call_later(stall_s, self._still_paused, waiting)

    def _still_paused(self, waited: int) -> None:
        assert self._transport is not None
        waiting = self._transport.get_write_buffer_size()
        if waiting < waited:
            self._expect_writable()  # slow, but it reads
            return
        stall_s = self._settings.limits.write_stall_s
        self._fail(DestinationError(f"{self._where} has read nothing for {stall_s:g} s", "stalled"))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- writing ----------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"{self._url.host}:{self._url.port}"

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)
            self._totals.bytes_sent += len(data)
