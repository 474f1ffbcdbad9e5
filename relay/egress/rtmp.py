"""One attempt at an RTMP or RTMPS destination: dial, publish, feed it the stream until either side ends."""

import asyncio
import errno
import os
from typing import cast

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationTotals, Owner, publish_address
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError, DestinationRejectedError, LimitError, ProtocolError
from relay.hub import BacklogLimit, Batch, Stream, Subscription
from relay.hub.batch import Tracks
from relay.hub.feed import RtmpFeed
from relay.outbound.dial import TlsContext, dial, reason
from relay.protocol.rtmp import events
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.limits import rtmp_limits
from relay.protocol.rtmp.state import ClientState
from relay.protocol.rtmp.url import RtmpUrl
from relay.secret import censored

WRITE_BUFFER_BYTES = 256 * 1024
GOODBYE_S = 2.0
_PHASES = {
    ClientState.HANDSHAKE: "accepted the connection but never answered the RTMP handshake",
    ClientState.CONNECT: "never answered connect; check the app in the URL",
    ClientState.PUBLISH: "never answered publish; check the stream key",
}


class RtmpAttempt:
    """Runs once. ``owner`` is told when the platform has taken the publish; totals are counted as it goes."""

    def __init__(
        self,
        config: DestinationConfig,
        stream: Stream,
        settings: Settings,
        totals: DestinationTotals,
        owner: Owner,
        tls: TlsContext,
    ) -> None:
        self._url, name = publish_address(config)
        self._settings = settings
        self._tls = tls
        self._connection = DestinationConnection(self._url, name, config, stream, settings, totals, owner)

    @property
    def subscription(self) -> Subscription | None:
        """The place in the stream, while live: its backlog and drops."""
        return self._connection.subscription

    @property
    def backlog_ms(self) -> int:
        subscription = self.subscription
        return subscription.backlog_ms if subscription is not None else 0

    @property
    def dropped(self) -> int:
        subscription = self.subscription
        return subscription.dropped_packets if subscription is not None else 0

    @property
    def unsent(self) -> int:
        """Bytes counted as sent that still wait in this process."""
        return self._connection.unsent

    async def run(self) -> None:
        """Dial, publish and feed until the stream ends (returns) or something fails (DestinationError)."""
        connection = self._connection
        try:
            await dial(
                self._url.host, self._url.port, connection, self._settings, self._tls if self._url.is_tls else None
            )
            await connection.finished
        finally:
            connection.abort()

    def say_goodbye(self) -> bool:
        """End an established publish politely. False: nothing is established.

        ``run`` returns within GOODBYE_S, or, while a slow platform takes the rest, within ``write_stall_s``.
        """
        return self._connection.say_goodbye()

    def finish(self) -> bool:
        """As ``say_goodbye``, after what waits for a slow platform: for a stream that is over."""
        return self._connection.finish()


class DestinationConnection(asyncio.Protocol):
    """The socket of one attempt. ``finished`` resolves when the stream is over, or fails with what went wrong."""

    def __init__(
        self,
        url: RtmpUrl,
        name: str,
        config: DestinationConfig,
        stream: Stream,
        settings: Settings,
        totals: DestinationTotals,
        owner: Owner,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._where = f"{url.host}:{url.port}"
        self._limits = settings.limits
        self._totals = totals
        self._stream = stream
        self._owner = owner
        self._secrets = {name, name.partition("?")[0], *url.app.partition("?")[2:]}
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._feed: RtmpFeed | None = None
        self._first: Tracks | None = None  # of this attempt, where the platform must never see others
        self._reconnects = config.change == "reconnect"
        self._paused = False
        self._leaving = False
        self.transport: asyncio.Transport | None = None
        self.subscription: Subscription | None = None
        self.finished: asyncio.Future[None] = self._loop.create_future()
        platform = PLATFORMS.get(config.platform, PLATFORMS["custom"])
        self._connection = ClientConnection(
            app=url.app,
            tc_url=url.tc_url,
            stream_name=name,
            nonce=os.urandom(3072),
            now=self._loop.time(),
            enhanced=platform.enhanced,
            limits=rtmp_limits(settings.limits),
        )

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    # --- asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._expect_answer()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        phase = self._connection.state
        try:
            received = self._connection.receive(data, self._loop.time())
        except LimitError as error:
            self._fail(f"goes too far: {error}", "limit")
            return
        except ProtocolError as error:
            self._fail(f"does not speak RTMP as it should: {self._shown(str(error))}", "protocol")
            return
        self._flush()
        if self._connection.state is not phase:
            self._expect_answer()
        for event in received:
            self._handle(event)

    def eof_received(self) -> None:
        # Half a close is a close: nothing it still read would be acknowledged.
        self._lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._lost(error)
        if self._leaving:
            self._finish()

    def pause_writing(self) -> None:
        self._paused = True
        if self.subscription is not None:
            self.subscription.pause()
        if not self._leaving:
            self._expect_progress(self._totals.bytes_sent - self.unsent)

    def resume_writing(self) -> None:
        self._paused = False
        if self._leaving:
            self._close()
            return
        self._cancel_timer()
        if self.subscription is not None:
            self.subscription.resume()

    # --- hub.Reader -------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        assert self._feed is not None
        if self._reconnects and self._is_changed(batch):
            self.say_goodbye()  # and a new attempt follows, with the new headers first
            return
        self._feed.take(batch)

    def _is_changed(self, batch: Batch) -> bool:
        """Whether a track's header is another than this attempt began with. A track that joins is no change."""
        video, audio = batch.closing
        if self._first is None:
            self._first = batch.closing
        first_video, first_audio = self._first
        if video is first_video and audio is first_audio:
            return False
        known = (first_video or video, first_audio or audio)
        self._first = known
        return not (video in (None, known[0]) and audio in (None, known[1]))

    def ended(self, error: Exception | None) -> None:
        if error is None:
            self.say_goodbye()
        else:
            self._finish(error)

    # --- conversation -----------------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Established():
                self._go_live(event.stream_id)
            case events.Rejected():
                words = f"refused the stream: {self._shown(event.description or event.code)}"
                if not event.final:
                    self._fail(words, "refused")
                elif event.code.startswith("NetConnection."):
                    self._reject(f"{words} — check the app in the URL")
                else:
                    self._reject(f"{words} — check the stream key, and that the event is open")
            case events.Ended():
                self._fail(f"ended the stream: {self._shown(event.description or event.code)}", "ended_by_platform")
            case _:
                pass  # acknowledgements and the like

    def _go_live(self, stream_id: int) -> None:
        self._feed = RtmpFeed(
            self._write,
            chunk_size=self._connection.out_chunk_size,
            stream_id=stream_id,
            publishing=True,
            metadata=self._stream.metadata,
        )
        self._owner.live()
        backlog = BacklogLimit(int(self._limits.backlog_s * 1000), self._limits.backlog_bytes)
        self.subscription = self._stream.subscribe(self, backlog)
        # The cached keyframe went out during subscribe, and may have filled the buffer.
        if self._paused:
            self.subscription.pause()

    def finish(self) -> bool:
        """Say goodbye once the backlog is sent (``ended`` comes then), or at the latest when it would be too old."""
        if self.subscription is None or not self.subscription.backlog_bytes:
            return self.say_goodbye()
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._limits.backlog_s, self.say_goodbye)
        return True

    def say_goodbye(self) -> bool:
        """Leave the stream, unpublish, let the last bytes go, close. False where there is nothing to leave."""
        if self.finished.done() or self._connection.state is not ClientState.LIVE or self.transport is None:
            return self._leaving
        self._leaving = True
        self._leave()
        self._cancel_timer()
        self._connection.unpublish()
        self._flush()
        self._timer = self._loop.call_later(GOODBYE_S, self._wait_for_rest, self._loop.time())
        if self.transport.can_write_eof():
            # Reading goes on until the platform closes: a socket closed over unread bytes resets the connection.
            self.transport.write_eof()
        else:
            # A TLS transport closed over a full buffer loses what is in it.
            self.transport.set_write_buffer_limits(high=1, low=0)
            if not self.unsent:
                self._close()
        return True

    def _wait_for_rest(self, since: float) -> None:
        """The end of a goodbye, unless something is left for a slow platform, and less than write_stall_s ago."""
        if self.unsent and self._loop.time() - since < self._limits.write_stall_s:
            self._timer = self._loop.call_later(GOODBYE_S / 4, self._wait_for_rest, since)
        else:
            self._finish()

    def _close(self) -> None:
        """Close a transport that cannot close its sending half alone; all it had to send is on its way."""
        transport = self.transport
        if transport is not None and not transport.can_write_eof() and not transport.is_closing():
            transport.close()

    def abort(self) -> None:
        """Be gone at once, whatever the state."""
        self._leave()
        self._cancel_timer()
        if not self.finished.cancel() and not self.finished.cancelled():
            self.finished.exception()  # whoever aborts no longer wants to know
        # The error of an attempt leads to its frames, and these to here: without it all of this is gone at once.
        self.finished = self._loop.create_future()
        self.finished.cancel()
        if self.transport is not None:
            self._totals.bytes_sent -= self.unsent
            self.transport.abort()

    def _leave(self) -> None:
        """Give up the place in the stream and count what it dropped."""
        if self._deadline is not None:
            self._deadline.cancel()
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            self._totals.dropped += subscription.dropped_packets
            subscription.close()

    # --- endings ----------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._leaving or self.finished.done()

    def _lost(self, error: Exception | None) -> None:
        if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
            self._fail(f"has taken nothing for {self._limits.write_stall_s:g} s", "stalled")
            return
        words = "closed the connection" if error is None else f"lost the connection ({reason(error)})"
        if self._connection.state is not ClientState.LIVE:
            words += " before taking the stream; check URL and stream key"
        self._fail(words, "closed")

    def _fail(self, words: str, outcome: str) -> None:
        self._finish_unless_over(DestinationError(f"{self._where} {words}", outcome))

    def _reject(self, words: str) -> None:
        self._finish_unless_over(DestinationRejectedError(f"{self._where} {words}"))

    def _finish_unless_over(self, error: DestinationError) -> None:
        if not self._over:
            self._finish(error)

    def _finish(self, error: Exception | None = None) -> None:
        self._leave()
        self._cancel_timer()
        if self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)

    # --- deadlines: one timer, for the answer awaited or for the write that stalls ----------------------------

    def _expect_answer(self) -> None:
        self._cancel_timer()
        words = _PHASES.get(self._connection.state)
        if words is not None:
            words = f"{words} (waited {self._limits.dial_s:g} s)"
            self._timer = self._loop.call_later(self._limits.dial_s, self._fail, words, "timeout")

    def _expect_progress(self, sent: int) -> None:
        """Fail when, after write_stall_s, no more than ``sent`` bytes have left this process."""
        self._cancel_timer()
        self._timer = self._loop.call_later(self._limits.write_stall_s, self._check_progress, sent)

    def _check_progress(self, before: int) -> None:
        sent = self._totals.bytes_sent - self.unsent
        if sent > before:
            self._expect_progress(sent)  # slow, but it reads
        else:
            self._fail(f"has taken nothing for {self._limits.write_stall_s:g} s", "stalled")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- writing ----------------------------------------------------------------------------------------------

    def _shown(self, text: str) -> str:
        return censored(text, self._secrets)

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)
            self._totals.bytes_sent += len(data)
