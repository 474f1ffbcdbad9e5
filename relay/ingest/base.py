"""What every door in has in common: how a publisher shows itself, and how many connections strangers may hold."""

import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from relay.config import LimitSettings
from relay.errors import LimitError


@dataclass(frozen=True, slots=True)
class PublisherInfo:
    """One publisher as the operator sees it. Times in unix seconds, ``rtt_s`` in seconds (None: not known)."""

    protocol: str
    address: str
    encoder: str
    encrypted: bool
    connected_at: float
    bytes_received: int
    rtt_s: float | None
    out_of_order: int = 0


class TcpInfo(NamedTuple):
    """What the kernel knows of a TCP connection: smoothed round-trip time in seconds (None: not known), and packets
    that came out of order, which on a link that loses is how the peer's repeats show on this side."""

    rtt_s: float | None = None
    out_of_order: int = 0


def tcp_info(sock: socket.socket | None) -> TcpInfo:
    """Linux ``struct tcp_info`` (linux/tcp.h): eight bytes, then 32-bit fields.

    Of these ``tcpi_rtt`` is the 16th, in µs; ``tcpi_rcv_ooopack`` is at byte 224, in kernels from 5.4 on.
    """
    if sock is None:
        return TcpInfo()
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    except OSError:
        return TcpInfo()  # the connection went away between the question and the answer
    rtt_us: int = struct.unpack_from("=I", info, 8 + 15 * 4)[0]
    out_of_order: int = struct.unpack_from("=I", info, 224)[0] if len(info) >= 228 else 0
    return TcpInfo(rtt_us / 1e6 if rtt_us else None, out_of_order)


class ConnectionBudget:
    """Counts open connections: in all, not yet authenticated, and per address. Full means refused, at the door."""

    __slots__ = ("_by_address", "_limits", "total", "unauthenticated")

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self.total = 0
        self.unauthenticated = 0

    def enter(self, address: str) -> None:
        """One more connection from ``address``. Raises LimitError, naming which limit, and counts nothing then."""
        limits = self._limits
        if self.total >= limits.connections:
            raise LimitError("connections", f"{self.total} connections are open, the most there may be")
        if self.unauthenticated >= limits.connections_unauthenticated:
            raise LimitError("connections_unauthenticated", "too many connections have not shown a key yet")
        if self._by_address[address] >= limits.connections_per_address:
            raise LimitError("connections_per_address", f"too many connections from {address}")
        self._by_address[address] += 1
        self.total += 1
        self.unauthenticated += 1

    def authenticated(self) -> None:
        """One of the connections has shown a right key."""
        self.unauthenticated -= 1

    def leave(self, address: str, *, authenticated: bool) -> None:
        self.total -= 1
        if not authenticated:
            self.unauthenticated -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
