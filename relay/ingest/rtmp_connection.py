"""One RTMP peer: handshake and commands as they come, media once per tick, acknowledged when durable."""

import asyncio
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import structlog

from relay.errors import LimitError, ProtocolError, RefusedError
from relay.hub import BacklogLimit, Lease
from relay.ingest.base import PublisherInfo, tcp_info
from relay.ingest.player import Player
from relay.ingest.rtmp_media import deliver
from relay.media import Packet
from relay.protocol.flv import Depacketizer
from relay.protocol.rtmp import events
from relay.protocol.rtmp.server import ServerConnection
from relay.protocol.rtmp.url import split_publish

if TYPE_CHECKING:
    from relay.ingest.rtmp import RtmpIngest

log = structlog.get_logger("relay.ingest.rtmp")

READ_BUFFER_BYTES = 256 * 1024
WRITE_BUFFER_BYTES = 256 * 1024
AWAITING_MOST = 1024  # with a disk that commits nothing, coarser steps instead of more memory
ACK_EVERY_S = 0.5  # well inside the promise that an acknowledgement is never held over 1 s
# ffmpeg looks at what it is told once in ten packets, and never before it closes. Closing on an unread message makes
# its kernel reset the connection, with its last frames and its goodbye still unsent: it is told nothing.
NEVER_TOLD = "Lavf"


class RtmpConnection(asyncio.BufferedProtocol):
    """A publisher (holding a lease on its stream) or a player, or neither yet."""

    def __init__(self, door: "RtmpIngest", loop: asyncio.AbstractEventLoop, *, encrypted: bool) -> None:
        self._door = door
        self._loop = loop
        self._encrypted = encrypted
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._address = "?"
        self._counted = False
        self._authenticated = False
        self._connected_at = time.time()
        self._opened_at = loop.time()
        self._handshaken_at: float | None = None
        self._media_at: float | None = None
        self._stalled = self._parked = self._ending = False
        self._connection = ServerConnection(nonce=os.urandom(3072), now=loop.time(), limits=door.limits)
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
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        # The transport's own, to set options on and to read: uvloop's stand-in looks its address up with every call.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, transport.get_extra_info("socket").fileno())
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else "?"
        try:
            self._door.budget.enter(self._address)
        except LimitError as error:
            self._door.stats.limit_hits[error.limit] += 1
            log.warning("connection refused", address=self._address, limit=error.limit, reason=str(error))
            transport.abort()
            return
        self._counted = True
        self._door.opened(self)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._door.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending:
            return
        now = self._loop.time()
        try:
            received = self._connection.receive(self._door.buffer[:nbytes], now)
            if self._lease is None:
                for event in received:
                    self._handle(event)
            else:
                self._media(received, now, nbytes)
        except ProtocolError as error:
            self._broken(error)
            return
        self._flush()
        if self._lease is not None and nbytes < READ_BUFFER_BYTES and not self._parked:
            # Drained: nothing more is read before the tick, however many segments the phone sends till then.
            self._parked = True
            assert self._transport is not None
            if self._transport.is_reading():
                self._transport.pause_reading()
            self._door.ticker.park(self._unpark)

    def connection_lost(self, error: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if not self._counted:
            return
        self._door.budget.leave(self._address, authenticated=self._authenticated)
        self._door.closed(self)
        self._leave_stream(clean=False)
        if not self._ending:
            reason = str(error) if error else "closed by the peer"
            log.info("connection ended", address=self._address, reason=reason)

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.pause(self._loop.time())

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.resume()

    def _unpark(self) -> None:
        self._parked = False
        if self._transport is not None and not self._transport.is_closing():
            # Sockets read this rarely are acknowledged late by the kernel, so the last frames of an encoder with
            # Nagle's algorithm on may still wait in its own kernel when it exits, and be lost with it.
            assert self._socket is not None
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if self._encrypted or not self._read():
                self._transport.resume_reading()

    def _read(self) -> bool:
        """Take what has come since the last tick, past the transport: one system call, and no wake-up by the poller.

        False where the transport is to go on: nothing is there, there is more, or the peer is gone.
        """
        assert self._socket is not None
        try:
            count = self._socket.recv_into(self._door.buffer)
        except OSError:
            return False  # nothing yet, or the transport finds out what is wrong
        if count:
            try:
                self.buffer_updated(count)
            except Exception as error:
                # As a transport does: whoever is to blame is closed, and the others on this tick are read.
                log.exception("connection failed", address=self._address, error=repr(error))
                self.abort()
        return self._parked or self._transport is None or self._transport.is_closing()

    # --- the hot path -----------------------------------------------------------------------------------------

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
        self._admitted()
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
        self._admitted()
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

    def _admitted(self) -> None:
        if not self._authenticated:
            self._authenticated = True
            self._door.budget.authenticated()

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
        self._flush()
        self._close_transport()

    def end(self, reason: str, *, clean: bool) -> None:
        """Tell the peer why, and close. Idempotent."""
        if self._ending:
            return
        self._ending = True
        log.info("connection ended", address=self._address, reason=reason)
        self._connection.close(reason)
        self._flush()
        self._leave_stream(clean=clean)
        self._close_transport()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

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
        """Deadlines: handshake, first media, silence. Called twice a second."""
        if self._ending:
            return
        limits = self._door.settings.limits
        if self._handshaken_at is None:
            if now - self._opened_at > limits.handshake_s:
                self._door.stats.limit_hits["handshake"] += 1
                self.end(f"no RTMP handshake and connect within {limits.handshake_s:g} s", clean=False)
        elif self._player is not None:
            if self._player.is_stuck(now, limits.write_stall_s):
                log.info("player dropped: it reads nothing", address=self._address)
                self.abort()
        elif self._media_at is None:
            if now - self._opened_at > limits.first_media_s:
                self._door.stats.limit_hits["first_media"] += 1
                self.end(f"no media within {limits.first_media_s:g} s of connecting", clean=False)
        elif self._lease is not None:
            silent_s = now - self._media_at
            if silent_s > limits.media_closed_s:
                self._door.stats.limit_hits["media_idle"] += 1
                self.end(f"no media for {limits.media_closed_s:g} s", clean=False)
            elif silent_s > limits.media_stalled_s and not self._stalled:
                self._stalled = True
                log.warning("stalled: connected, but no media", channel=self._lease.stream.name)
                self._lease.stalled()
            elif not self._parked:
                self._acknowledge(now)
                self._flush()
        elif now - self._media_at > limits.first_media_s:
            self.end("idle after unpublishing", clean=True)

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

    # --- writing ----------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
