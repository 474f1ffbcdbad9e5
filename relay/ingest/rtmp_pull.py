"""One attempt at an RTMP or RTMPS source: dial, play, and write what comes to the channel's stream."""

import asyncio
import os
import time
from typing import cast

import structlog

from relay.errors import DestinationError, DestinationRejectedError, LimitError, ProtocolError
from relay.hub import Lease
from relay.ingest.base import PublisherInfo, tcp_info
from relay.ingest.rtmp_media import deliver
from relay.ingest.source import Around, SourceConfig, Telling, rtmp_source, taken
from relay.media import Packet
from relay.outbound.dial import dial, reason
from relay.protocol.flv import Depacketizer
from relay.protocol.rtmp import events
from relay.protocol.rtmp.chunk import Message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.limits import rtmp_limits
from relay.protocol.rtmp.state import ClientState
from relay.protocol.rtmp.url import RtmpUrl
from relay.secret import censored

log = structlog.get_logger("relay.ingest.pull")

CHECK_S = 0.5
_PHASES = {
    ClientState.HANDSHAKE: "accepted the connection but never answered the RTMP handshake",
    ClientState.CONNECT: "never answered connect; check the app in the URL",
    ClientState.PUBLISH: "never answered play; check the stream's name",
}


class RtmpPull:
    """Runs once."""

    def __init__(self, channel: str, config: SourceConfig, around: Around, telling: Telling) -> None:
        self._url, name = rtmp_source(config)
        self._around = around
        self._connection = PullConnection(channel, self._url, name, around, telling)

    async def run(self) -> None:
        """Dial, play and write until something fails, or the source ends what it sends (both DestinationError)."""
        connection, url, around = self._connection, self._url, self._around
        try:
            await dial(url.host, url.port, connection, around.settings, around.tls if url.is_tls else None)
            await connection.finished
        finally:
            connection.abort()

    def leave(self) -> None:
        """Not wanted any more: the stream ends with this attempt."""
        self._connection.leave()


class PullConnection(asyncio.Protocol):
    """The socket of one attempt, and the publisher (hub.Publisher) of what it brings. ``finished`` only ever fails."""

    def __init__(self, channel: str, url: RtmpUrl, name: str, around: Around, telling: Telling) -> None:
        self._loop = asyncio.get_running_loop()
        self._where = f"{url.host}:{url.port}"
        self._is_tls = url.is_tls
        self._channel = channel
        self._around = around
        self._limits = around.settings.limits
        self._telling = telling
        self._secrets = {name, name.partition("?")[0], *url.app.partition("?")[2:]}
        self._connected_at = time.time()
        self._address = url.host
        self._timer: asyncio.TimerHandle | None = None
        self._lease: Lease | None = None
        self._depacketizer: Depacketizer | None = None
        self._metadata: events.MetadataReceived | None = None
        self._established_at = 0.0
        self._media_at: float | None = None
        self._stalled = self._parked = self._leaving = False
        self.transport: asyncio.Transport | None = None
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._connection = ClientConnection(
            app=url.app,
            tc_url=url.tc_url,
            stream_name=name,
            nonce=os.urandom(3072),
            now=self._loop.time(),
            mode="play",
            limits=rtmp_limits(around.settings.limits),
        )

    # --- asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else self._address
        self._expect_answer()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.finished.done():
            return
        phase, now = self._connection.state, self._loop.time()
        try:
            received = self._connection.receive(data, now)
            self._flush()
            if self._connection.state is not phase:
                self._expect_answer()
            self._media(received, now, len(data))
        except LimitError as error:
            self._fail(f"goes too far: {error}", "limit")
            return
        except ProtocolError as error:
            self._fail(f"does not speak RTMP as it should: {self._shown(str(error))}", "protocol")
            return
        if self._lease is not None and not self._parked and self.transport is not None:
            # As with publishers: nothing more is read before the tick.
            self._parked = True
            self.transport.pause_reading()
            self._around.ticker.park(self._unpark)

    def _unpark(self) -> None:
        self._parked = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        words = "closed the connection" if error is None else f"lost the connection ({reason(error)})"
        if self._connection.state is not ClientState.LIVE:
            words += " before it sent the stream; check the URL"
        self._fail(words, "closed")

    # --- media ------------------------------------------------------------------------------------------------

    def _media(self, received: list[events.Event], now: float, nbytes: int) -> None:
        self._around.bytes_received[self._channel] += nbytes
        if self._lease is None and any(type(event) is Message for event in received):
            self._take_channel()
        lease, depacketizer = self._lease, self._depacketizer
        if lease is None or depacketizer is None:
            for event in received:
                if type(event) is not Message:
                    self._handle(event)
            return
        lease.timeline.arrived(int(now * 1000))
        deliver(received, depacketizer, lambda packets: self._write_packets(lease, packets, now), self._handle)

    def _take_channel(self) -> None:
        """Become the channel's publisher, unless there is one."""
        hub = self._around.hub
        if hub.lease(self._channel) is not None:
            self._finish(taken())
            return
        self._lease = lease = hub.publish(self._channel, self)
        self._depacketizer = Depacketizer(lease.timeline)
        if self._metadata is not None:
            lease.describe(self._metadata.values)
        log.info("pulling", channel=self._channel, host=self._where)

    def _write_packets(self, lease: Lease, packets: list[Packet], now: float) -> None:
        if self._media_at is None:
            self._telling.live()
        self._media_at = now
        self._stalled = False
        lease.write(packets)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Established():
                self._established_at = self._loop.time()
                self._check()
            case events.MetadataReceived():
                self._metadata = event
                if self._lease is not None:
                    self._lease.describe(event.values)
            case events.Rejected():
                words = f"refused to play: {self._shown(event.description or event.code)}"
                if event.final:
                    self._finish(DestinationRejectedError(f"{self._where} {words} — check app and name in the URL"))
                else:
                    self._fail(words, "refused")
            case events.Ended():
                self._fail(f"ended the stream: {self._shown(event.description or event.code)}", "ended_by_source")
            case _:
                pass  # acknowledgements and the like

    # --- hub.Publisher ----------------------------------------------------------------------------------------

    def evicted(self, reason: str) -> None:
        """Somebody else has the channel, or it is gone."""
        self._lease = None
        self._finish(taken())

    def committed(self, seq: int) -> None:
        """Nobody is told: a server that is played from keeps nothing for us."""

    def info(self) -> PublisherInfo:
        tcp = tcp_info(self.transport.get_extra_info("socket") if self.transport is not None else None)
        return PublisherInfo(
            protocol="rtmps pull" if self._is_tls else "rtmp pull",
            address=self._address,
            encoder="",
            encrypted=self._is_tls,
            connected_at=self._connected_at,
            bytes_received=self._connection.received,
            rtt_s=tcp.rtt_s,
            out_of_order=tcp.out_of_order,
        )

    # --- endings ----------------------------------------------------------------------------------------------

    def leave(self) -> None:
        self._leaving = True

    def abort(self) -> None:
        """Be gone at once, whatever the state."""
        self._finish(None)
        # The error of an attempt leads to its frames, and these to here: without it all of this is gone at once.
        self.finished = self._loop.create_future()
        self.finished.cancel()
        if self.transport is not None:
            self._connection.unpublish()
            self._flush()
            self.transport.abort()

    def _fail(self, words: str, outcome: str) -> None:
        self._finish(DestinationError(f"{self._where} {words}", outcome))

    def _finish(self, error: DestinationError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        lease, self._lease = self._lease, None
        if lease is not None:
            # Whether it comes back nobody knows: the stream is held, unless it is not wanted any more.
            lease.release(clean=self._leaving)
        if not self.finished.done():
            if error is None:
                self.finished.cancel()
            else:
                self.finished.set_exception(error)
        elif not self.finished.cancelled():
            self.finished.exception()  # retrieved: whoever ended it knows

    # --- deadlines: one timer, for the answer awaited or for the media that stops ------------------------------

    def _expect_answer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        words = _PHASES.get(self._connection.state)
        if words is not None:
            words = f"{words} (waited {self._limits.dial_s:g} s)"
            self._timer = self._loop.call_later(self._limits.dial_s, self._fail, words, "timeout")

    def _check(self) -> None:
        """First media, silence: twice a second once the play is accepted."""
        if self.finished.done():
            return
        now, limits = self._loop.time(), self._limits
        if self._media_at is None:
            if now - self._established_at > limits.first_media_s:
                self._fail(f"sent no media within {limits.first_media_s:g} s; is anybody live there?", "silent")
                return
        elif now - self._media_at > limits.media_closed_s:
            self._fail(f"sent no media for {limits.media_closed_s:g} s", "silent")
            return
        elif now - self._media_at > limits.media_stalled_s and not self._stalled and self._lease is not None:
            self._stalled = True
            log.warning("stalled: the source is connected, but sends no media", channel=self._channel)
            self._lease.stalled()
        self._timer = self._loop.call_later(CHECK_S, self._check)

    # --- writing ----------------------------------------------------------------------------------------------

    def _shown(self, text: str) -> str:
        return censored(text, self._secrets)

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
