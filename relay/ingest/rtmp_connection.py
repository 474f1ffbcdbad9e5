"""One RTMP peer: handshake and commands as they come, media once per tick, acknowledged when durable."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from relay.budget import Place
from relay.errors import LimitError, ProtocolError, RefusedError
from relay.hub import BacklogLimit, Lease
from relay.ingest.base import PublisherInfo, tcp_info
from relay.ingest.deadlines import Stage, overdue
from relay.ingest.player import Player
from relay.ingest.rtmp_media import deliver
from relay.ingest.rtmp_wire import Wire
from relay.media import Packet
from relay.protocol.flv import Depacketizer
from relay.protocol.rtmp import events
from relay.protocol.rtmp.url import split_publish

if TYPE_CHECKING:
    from relay.ingest.rtmp import RtmpIngest

log = structlog.get_logger("relay.ingest.rtmp")

AWAITING_MOST = 1024  # with a disk that commits nothing, coarser steps instead of more memory
GOODBYE_S = 5.0
ACK_EVERY_S = 0.5  # well inside the promise that an acknowledgement is never held over 1 s
# ffmpeg looks at what it is told once in ten packets, and never before it closes. Closing on an unread message makes
# its kernel reset the connection, with its last frames and its goodbye still unsent: it is told nothing.
NEVER_TOLD = "Lavf"


class RtmpConnection(Wire):
    """A publisher (holding a lease on its stream) or a player, or neither yet."""

    def __init__(self, door: "RtmpIngest", loop: asyncio.AbstractEventLoop, place: Place, *, encrypted: bool) -> None:
        super().__init__(door, loop, place, encrypted=encrypted)
        self._connected_at = time.time()
        self._opened_at = place.since
        self._handshaken_at: float | None = None
        self._media_at: float | None = None
        self._stalled = False
        self._goodbye_at = 0.0
        self._app = self._encoder = self._flash_ver = ""
        self._lease: Lease | None = None
        self._depacketizer: Depacketizer | None = None
        self._awaiting: deque[tuple[int, int]] = deque()  # (stream seq, byte count) not yet durable
        self._ackable = self._acknowledged = 0  # bytes
        self._acknowledged_at = loop.time()
        self._ack_every_s = ACK_EVERY_S
        self._player: Player | None = None

    # --- asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._door.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._door.closed(self)
        channel = self._lease.stream.name if self._lease is not None else None
        self._leave_stream(clean=False)
        if not self._ending:
            self._ended(str(error) if error else "closed by the peer", channel)

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.pause(self._loop.time())
        elif not self._ending:
            self._door.stats.limit_hits["unread"] += 1
            self.drop("it does not read what it asked for")

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.resume()

    # --- the hot path -----------------------------------------------------------------------------------------

    def _received(self, nbytes: int, now: float) -> None:
        try:
            received = self._connection.receive(self._buffer[:nbytes], now)
            if self._lease is None:
                for event in received:
                    self._handle(event)
            else:
                self._media(received, now, nbytes)
        except ProtocolError as error:
            self._broken(error)
        except Exception as error:  # a fault of ours, which ends this one and no other
            log.exception("connection failed", address=self._address, error=repr(error))
            self._ending = True
            self.abort()
        else:
            self._flush()
            self._ticked = self._lease is not None
            self._place.greeted = self._connection.handshaken

    def _media(self, received: list[events.Event], now: float, nbytes: int) -> None:
        lease, depacketizer = self._lease, self._depacketizer
        assert lease is not None
        assert depacketizer is not None
        self._door.bytes_received[lease.stream.name] += nbytes
        lease.timeline.arrived(int(now * 1000))
        deliver(received, depacketizer, lambda packets: self._write_packets(lease, packets, now), self._handle)
        if self._lease is lease:
            self._note_progress(lease.stream.seq, now)

    def _write_packets(self, lease: Lease, packets: list[Packet], now: float) -> None:
        if self._media_at is None:
            log.info("live", channel=lease.stream.name, address=self._address, encoder=self._encoder)
        self._media_at = now
        self._stalled = False
        lease.write(packets)

    def _note_progress(self, seq: int, now: float) -> None:
        end = self._connection.message_end
        assert self._lease is not None
        if self._lease.stream.durable_seq >= seq:
            self._ackable = end
        elif self._awaiting and (self._awaiting[-1][0] == seq or len(self._awaiting) >= AWAITING_MOST):
            self._awaiting[-1] = (seq, end)
        else:
            self._awaiting.append((seq, end))
        self._acknowledge(now)

    def committed(self, seq: int) -> None:
        """Packets up to ``seq`` are on disk (hub.Publisher)."""
        awaiting = self._awaiting
        while awaiting and awaiting[0][0] <= seq:
            self._ackable = awaiting.popleft()[1]
        # Sent with the next read, at most a tick away. Writing now to an encoder that has just closed would break
        # the connection before its last frames and its goodbye, still unread in the kernel, are seen.

    def _acknowledge(self, now: float) -> None:
        if self._ackable != self._acknowledged and now - self._acknowledged_at >= self._ack_every_s:
            self._connection.acknowledge(self._ackable)
            self._acknowledged = self._ackable
            self._acknowledged_at = now

    # --- conversation -----------------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Connected():
                self._handshaken_at = self._loop.time()
                self._app = event.app
                self._encoder = self._flash_ver = event.flash_ver[:80]
            case events.PublishRequested():
                self._publish(event)
            case events.PlayRequested():
                self._play(event)
            case events.MetadataReceived():
                if self._lease is not None:
                    encoder = event.values.get("encoder")
                    if isinstance(encoder, str) and encoder:
                        self._encoder = encoder[:80]
                        if encoder.startswith(NEVER_TOLD) and encoder in self._flash_ver:
                            self._ack_every_s = math.inf
                    self._lease.describe(event.values)
            case events.Unpublished():
                if self._lease is not None:
                    log.info("publisher said goodbye", channel=self._lease.stream.name, address=self._address)
                self._leave_stream(clean=True)
            case events.PlayStopped():
                self._leave_stream(clean=True)
            case _:
                pass  # acknowledgements and pongs need no answer

    def _publish(self, event: events.PublishRequested) -> None:
        door = self._door
        try:
            address = split_publish(self._app, event.name)
            channel = door.admission.admit_publish(address.key, self._address)
            door.links.admit(channel)
        except (RefusedError, ProtocolError) as error:
            self._refuse(error, lambda text: self._connection.refuse_publish(event.stream_id, text))
            return
        self._trust()
        pipelined = self._connection.accept_publish(event.stream_id)
        self._flush()
        self._lease = lease = door.hub.publish(channel, self)
        self._depacketizer = Depacketizer(lease.timeline)
        self._opened_at = now = self._loop.time()
        self._media_at = None
        log.info("publishing", channel=channel, address=self._address, encoder=self._encoder, tls=self._encrypted)
        if pipelined:
            self._media(pipelined, now, 0)

    def _play(self, event: events.PlayRequested) -> None:
        door = self._door
        try:
            address = split_publish(self._app, event.name)
            channel = door.admission.admit_play(address.name, address.key, self._address)
            stream = door.hub.streams.get(channel)
            if stream is None or stream.last_dts_ms is None:
                raise RefusedError("not_live", f"{channel} is not live; try again when it is")
        except (RefusedError, ProtocolError) as error:
            self._refuse(error, lambda text: self._connection.refuse_play(event.stream_id, text))
            return
        self._trust()
        self._connection.accept_play(event.stream_id)
        self._flush()
        limits = door.settings.limits
        self._player = Player(
            stream,
            self._write,
            lambda error: self._play_over(event.stream_id, error),
            chunk_size=self._connection.out_chunk_size,
            stream_id=event.stream_id,
            limit=BacklogLimit(int(limits.backlog_s * 1000), limits.backlog_bytes),
        )
        log.info("playing", channel=channel, address=self._address)

    def _refuse(self, error: RefusedError | ProtocolError, answer: Callable[[str], None]) -> None:
        outcome = error.outcome if isinstance(error, RefusedError) else "malformed"
        log.warning("refused", address=self._address, outcome=outcome, reason=str(error))
        answer(str(error))
        self._ending = True
        self._flush()
        # A moment for the answer to be read: some encoders drop it when the socket closes with it.
        self._loop.call_later(1.0, self._close_transport)

    # --- endings ----------------------------------------------------------------------------------------------

    def evicted(self, reason: str) -> None:
        """The lease went elsewhere (hub.Publisher)."""
        self._lease = None
        self.end(reason, clean=True)

    def _play_over(self, stream_id: int, error: Exception | None) -> None:
        """The stream played is over."""
        self._player = None
        if error is not None:
            log.warning("player failed", address=self._address, error=str(error))
        self._connection.end_play(stream_id)
        self._ending = True
        self._ended("the stream played is over", None)
        self._flush()
        self._close_transport()

    def end(self, reason: str, *, clean: bool) -> None:
        """Tell the peer why, and close. Idempotent."""
        if self._ending:
            return
        self._ending = True
        self._ended(reason, self._lease.stream.name if self._lease is not None else None)
        self._connection.close(reason)
        self._flush()
        self._leave_stream(clean=clean)
        self._close_transport()

    def drop(self, reason: str) -> None:
        """Close without a word: the peer would not read it. Idempotent."""
        if self._ending:
            return
        self._ending = True
        self._ended(reason, self._lease.stream.name if self._lease is not None else None)
        self.abort()

    def _ended(self, reason: str, channel: str | None) -> None:
        """The one line that says why."""
        about = {} if channel is None else {"channel": channel}
        log.info("connection ended", **about, address=self._address, reason=reason)

    def _broken(self, error: ProtocolError) -> None:
        if isinstance(error, LimitError):
            self._door.stats.limit_hits[error.limit] += 1
        self.end(str(error), clean=False)

    def _leave_stream(self, *, clean: bool) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(clean=clean)
        player, self._player = self._player, None
        if player is not None:
            player.close()

    def check(self, now: float) -> None:
        """Deadlines: handshake, first media, silence, goodbye. Called twice a second."""
        if self._ending:
            self._goodbye_at = self._goodbye_at or now
            if now - self._goodbye_at > GOODBYE_S:
                self.abort()  # it does not read its last words, and would keep its place for them
            return
        limits = self._door.settings.limits
        since = self._opened_at
        if self._handshaken_at is None:
            stage = Stage.CONNECT
        elif self._player is not None:
            if self._player.is_stuck(now, limits.write_stall_s):
                self.drop("it plays and reads nothing")
            return
        elif self._media_at is None:
            stage = Stage.MEDIA
        else:
            stage, since = Stage.MORE if self._lease is not None else Stage.AGAIN, self._media_at
        late = overdue(stage, now - since, limits)
        if late is not None:
            if late.limit:
                self._door.stats.limit_hits[late.limit] += 1
            self.end(late.reason, clean=late.clean)
        elif self._lease is not None and self._media_at is not None:
            if now - self._media_at > limits.media_stalled_s and not self._stalled:
                self._stalled = True
                log.warning("stalled: connected, but no media", channel=self._lease.stream.name)
                self._lease.stalled()
            elif not self._parked:
                self._acknowledge(now)
                self._flush()

    def info(self) -> PublisherInfo:
        tcp = tcp_info(self._socket)
        return PublisherInfo(
            protocol="rtmps" if self._encrypted else "rtmp",
            address=self._address,
            encoder=self._encoder,
            encrypted=self._encrypted,
            connected_at=self._connected_at,
            bytes_received=self._connection.received,
            rtt_s=tcp.rtt_s,
            out_of_order=tcp.out_of_order,
        )
