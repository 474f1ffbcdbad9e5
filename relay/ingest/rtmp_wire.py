"""The wire of one RTMP peer: read at once until a key was shown, once per tick then, and never more than its share."""

import asyncio
import os
import socket
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

from relay.budget import Place
from relay.ingest.share import Share
from relay.protocol.rtmp.server import ServerConnection

if TYPE_CHECKING:
    from relay.ingest.rtmp import RtmpIngest

READ_BUFFER_BYTES = 256 * 1024
STRANGER_BYTES = 8 * 1024  # at once, of who has shown no key
AT_ONCE = 1024  # messages parsed before others have their turn: some ms, however small they are
WRITE_BUFFER_BYTES = 256 * 1024
QUIET_S = 0.35  # without a byte for so long, the poller looks after it; what is acknowledged meanwhile waits no longer
CHEAP_S = 0.002  # a read once per tick that takes no longer is nobody's trouble


class Wire(asyncio.BufferedProtocol, ABC):
    """Reads and writes for the connection that inherits it, which takes what comes in ``_received``."""

    def __init__(self, door: "RtmpIngest", loop: asyncio.AbstractEventLoop, place: Place, *, encrypted: bool) -> None:
        self._door = door
        self._loop = loop
        self._place = place
        self._address = place.address
        self._encrypted = encrypted
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._connection = ServerConnection(
            nonce=os.urandom(3072), now=loop.time(), limits=door.limits, at_once=AT_ONCE
        )
        self._share = Share(door.settings.limits.connection_share, loop.time())
        self._buffer = door.small_buffer
        self._read_at = 0.0  # not before
        self._heard_at = 0.0
        # What others take of the processor meanwhile is not this one's; but to ask for that costs ten times as much.
        self._clock = time.thread_time
        self._parked = self._ending = self._ticked = False

    @abstractmethod
    def _received(self, nbytes: int, now: float) -> None:
        """``nbytes`` have come into the buffer; or none, and the connection has more of what came before."""

    @abstractmethod
    def drop(self, reason: str) -> None:
        """Close without a word."""

    def _trust(self) -> None:
        """It has shown a right key."""
        self._place.authenticate()
        self._share.trust()
        self._buffer = self._door.buffer

    # --- asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        # The transport's own, to set options on and to read: uvloop's stand-in looks its address up with every call.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, transport.get_extra_info("socket").fileno())
        self._place.close = lambda: self.drop(self._place.evicted)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def connection_lost(self, error: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        self._place.leave()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending:
            return
        now, clock = self._loop.time(), self._clock
        self._heard_at = now
        began = clock()
        self._received(nbytes, now)
        took_s = clock() - began
        has_more = self._connection.has_more
        # Drained: nothing more is read before the tick, however many segments the phone sends till then.
        drained = self._ticked and nbytes < len(self._buffer)
        if took_s > CHEAP_S or has_more or not drained:
            if clock is time.perf_counter and took_s > CHEAP_S:
                self._clock, took_s = time.thread_time, CHEAP_S  # perhaps the machine was busy: the next one shows
            self._read_at = self._share.spend(took_s, now)
        elif clock is time.thread_time:
            self._clock = time.perf_counter
        if (drained or has_more or self._read_at > now) and not (self._parked or self._ending):
            self._parked = True
            assert self._transport is not None
            if self._transport.is_reading():
                self._transport.pause_reading()
            self._door.ticker.park(self._unpark)

    # --- ticks ------------------------------------------------------------------------------------------------

    def _unpark(self) -> None:
        self._parked = False
        if self._transport is None or self._transport.is_closing():
            return
        now = self._loop.time()
        if now < self._read_at:
            self._parked = True
            self._door.ticker.park(self._unpark)
        elif self._connection.has_more:
            self.buffer_updated(0)
        else:
            # Sockets read this rarely are acknowledged late by the kernel, so the last frames of an encoder with
            # Nagle's algorithm on may still wait in its own kernel when it exits, and be lost with it.
            assert self._socket is not None
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if self._encrypted or not self._read(now):
                self._transport.resume_reading()

    def _read(self, now: float) -> bool:
        """Take what has come since the last tick, past the transport: one system call, and no wake-up by the poller.

        False where the transport is to go on: nothing has come for QUIET_S, there is more, or the peer is gone.
        """
        assert self._socket is not None
        try:
            count = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            # Encoders that send in bursts leave ticks out. Their next burst is read whole, at a tick.
            if not self._ticked or now - self._heard_at > QUIET_S:
                return False
            self._parked = True
            self._door.ticker.park(self._unpark)
            return True
        except OSError:
            return False  # the transport finds out what is wrong
        if count:
            self.buffer_updated(count)
        return self._parked or self._transport is None or self._transport.is_closing()

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

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
