"""What every door in has in common: how a publisher shows itself, and what the kernel knows of its connection."""

import socket
import struct
from dataclasses import dataclass
from typing import NamedTuple


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
