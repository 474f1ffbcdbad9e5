"""Drain: a process that takes many RTMP publishers cheaply and counts: ``python -m tests.bench.drain PORT REPORT``.

One connection in SAMPLED is read as soon as something comes, for the delay, and its checksums are compared; the others
are read a few times a second, and their packets counted. SIGUSR1 begins the time measured and SIGUSR2 ends it; the
report is written at SIGTERM.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

from relay.protocol.rtmp.chunk import Message
from relay.protocol.rtmp.events import Event, PublishRequested
from relay.protocol.rtmp.server import ServerConnection
from tests.bench import stamp
from tests.bench.figures import percentile

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
"""Listened on, all at one port: a destination has one of its own, for servers that tell them apart by address only."""
SAMPLED = 10
SWEEP_S = 0.2
BUFFER_BYTES = 1 << 20  # what comes between two sweeps fits, so that nobody who sends is held up
MOST_SAMPLES = 2_000_000
_REPORTED = ("channel", "first", "last", "packets", "missing", "disordered", "damaged", "sampled", "error")


class Guest:
    """One connection: what came over it."""

    def __init__(self, made: socket.socket, *, sampled: bool) -> None:
        self.socket = made
        self.sampled = sampled
        self.established = False
        self.channel = -1
        self.first = self.last = -1
        self.packets = self.missing = self.disordered = self.damaged = 0
        self.error = ""
        self._connection = ServerConnection(nonce=os.urandom(3072), now=time.monotonic())

    def receive(self, data: memoryview, delays_ns: "array[int] | None") -> None:
        """Take bytes; the delays of their packets go to ``delays_ns``, where given."""
        now_ns = time.monotonic_ns()
        self._take(self._connection.receive(data, now_ns / 1e9), now_ns, delays_ns)
        answer = self._connection.data_to_send()
        if answer:
            self.socket.send(answer)

    def _take(self, events: Sequence[Event], now_ns: int, delays_ns: "array[int] | None") -> None:
        for event in events:
            if type(event) is Message:
                found = stamp.read(event.type_id, event.payload)
                if found is None:
                    continue
                if self.first < 0:
                    self.first, self.channel = found.number, found.channel
                elif found.number > self.last:
                    self.missing += found.number - self.last - 1
                else:
                    self.disordered += 1
                self.last = found.number
                self.packets += 1
                if self.sampled:
                    self.damaged += stamp.checksum(event.type_id, event.payload) != found.checksum
                    if delays_ns is not None and len(delays_ns) < MOST_SAMPLES:
                        delays_ns.append(now_ns - found.sent_ns)
            elif isinstance(event, PublishRequested):
                self.established = True
                self._take(self._connection.accept_publish(event.stream_id), now_ns, delays_ns)


class Drain:
    """All connections on one epoll; those that are not sampled leave it once they publish."""

    def __init__(self, port: int) -> None:
        self._poll = select.epoll()
        self._listening: dict[int, socket.socket] = {}
        for address in ADDRESSES:
            made = socket.create_server((address, port), backlog=4096)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            made.setblocking(False)
            self._listening[made.fileno()] = made
            self._poll.register(made.fileno(), select.EPOLLIN)
        self._guests: dict[int, Guest] = {}
        self._swept: list[Guest] = []
        self._all: list[Guest] = []
        self._buffer = memoryview(bytearray(1 << 20))
        self._delays_ns = array("q")
        self._measuring = self._stop = False

    def run(self, report: Path) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: self._measure(True))
        signal.signal(signal.SIGUSR2, lambda number, frame: self._measure(False))
        signal.signal(signal.SIGTERM, lambda number, frame: self._end())
        sweep_at = time.monotonic()
        while not self._stop:
            for descriptor, _ in self._poll.poll(max(0.0, sweep_at - time.monotonic())):
                if descriptor in self._listening:
                    self._accept(self._listening[descriptor])
                else:
                    self._read(self._guests[descriptor])
            if time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + SWEEP_S
                for guest in tuple(self._swept):
                    self._read(guest)
        ordered = sorted(self._delays_ns)
        figures = {
            "connections": [
                {
                    name: getattr(guest, name)
                    for name in _REPORTED
                }
                for guest in self._all
                if guest.channel >= 0
            ],
            "delay_ms": {str(share): percentile(ordered, share) / 1e6 for share in (0.5, 0.99)} if ordered else {},
            "samples": len(ordered),
        }  # fmt: skip
        report.write_text(json.dumps(figures), "utf-8")

    def _measure(self, measuring: bool) -> None:
        self._measuring = measuring
        if measuring:
            for guest in self._all:
                guest.missing = guest.disordered = 0  # how a server joins a stream is its own affair

    def _end(self) -> None:
        self._stop = True

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                made, _ = listening.accept()
                made.setblocking(False)
                guest = Guest(made, sampled=len(self._all) % SAMPLED == 0)
                self._all.append(guest)
                self._guests[made.fileno()] = guest
                self._poll.register(made.fileno(), select.EPOLLIN)

    def _read(self, guest: Guest) -> None:
        try:
            count = guest.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._leave(guest, str(error))
            return
        if not count:
            self._leave(guest, "")
            return
        was = guest.established
        guest.receive(self._buffer[:count], self._delays_ns if self._measuring and guest.sampled else None)
        if guest.established and not was and not guest.sampled:
            self._poll.unregister(guest.socket.fileno())
            self._swept.append(guest)

    def _leave(self, guest: Guest, error: str) -> None:
        guest.error = error
        descriptor = guest.socket.fileno()
        del self._guests[descriptor]
        if guest in self._swept:
            self._swept.remove(guest)
        else:
            self._poll.unregister(descriptor)
        guest.socket.close()


if __name__ == "__main__":
    Drain(int(sys.argv[1])).run(Path(sys.argv[2]))
