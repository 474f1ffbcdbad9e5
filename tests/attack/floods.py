"""Floods: what a stranger, or who has a key, may send of chunks no encoder makes."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from relay.protocol.rtmp.chunk import write_message
from tests.attack.peers import CONNECT, GREETING, dial, greet, is_closed, publish


def chunk_sizes(port: int) -> dict[str, Any]:
    """Announce sizes no encoder has; which of them end the connection."""
    closed = {}
    for size in (0, 1, 127, 1 << 31, (1 << 31) - 1):
        with dial(port) as made:
            greet(made)
            made.sendall(CONNECT + write_message(1, 0, 0, size.to_bytes(4, "big"), chunk_size=128, csid=2))
            closed[str(size)] = is_closed(made, 1.5)
    return {"closed": closed}


def half_sent(port: int, connections: int, streams: int, announced: int, most: int, hold_s: float) -> dict[str, Any]:
    """On each connection ``streams`` messages of ``announced`` bytes at once, none of them ever whole.

    ``most`` bytes each are sent, or what the relay takes, and then the connections are held.
    """
    held: list[socket.socket] = []
    refused = taken = 0
    # Two and three byte headers too: the number of streams is what counts, not their ids.
    csids = range(3, 3 + streams)
    heads = [_head(csid, announced) for csid in csids]
    for number in range(connections):
        try:
            made = dial(port, number)
            greet(made)
            made.sendall(CONNECT)
        except OSError:
            refused += 1
            continue
        held.append(made)
        try:
            for step in range(most // (streams * 129)):
                starts = heads if step == 0 else [_basic(3, csid) for csid in csids]
                made.sendall(b"".join(start + bytes(128) for start in starts))
                taken += streams * 128
        except OSError:
            continue  # closed: what the figures are to show
    time.sleep(hold_s)
    return {"open": sum(not is_closed(made, 0.001) for made in held), "refused": refused, "taken": taken}


def _head(csid: int, announced: int) -> bytes:
    return _basic(0, csid) + bytes(3) + announced.to_bytes(3, "big") + b"\x09" + (1).to_bytes(4, "little")


def _basic(fmt: int, csid: int) -> bytes:
    return bytes((fmt << 6 | csid,)) if csid < 64 else bytes((fmt << 6, csid - 64))


def flood(port: int, seconds: float, kind: str, key: str = "", connections: int = 1) -> dict[str, Any]:
    """Send as much of one thing as is taken, again and again: ``kind`` is empty, aborts, pings or bytes.

    ``key``: publish first.
    """
    until = time.monotonic() + seconds
    seen: Counter[str] = Counter()

    def one() -> None:
        while time.monotonic() < until:
            try:
                made = publish(port, key) if key else dial(port)
                with made:
                    if not key:
                        if kind != "bytes":
                            greet(made)
                        made.sendall(CONNECT if kind != "bytes" else b"")
                    seen["connections"] += 1
                    made.settimeout(0.5)
                    for data in _FLOODS[kind](bool(key)):
                        with contextlib.suppress(TimeoutError):
                            seen["bytes"] += made.send(data)
                        if time.monotonic() > until:
                            break
            except (OSError, ConnectionError):
                seen["ended"] += 1
                time.sleep(0.01)

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(seen)


def _empty(_: bool) -> Iterator[bytes]:
    """Messages of no length and an unknown type: one byte of fmt 3 each."""
    yield _basic(0, 5) + bytes(3) + bytes(3) + b"\x07" + bytes(4)
    while True:
        yield b"\xc5" * 65536


def _short(_: bool) -> Iterator[bytes]:
    """Video of one byte, of fmt 1 each: eight bytes of header."""
    yield _basic(0, 6) + bytes(3) + (1).to_bytes(3, "big") + b"\x09" + (1).to_bytes(4, "little") + b"\x27"
    while True:
        yield (_basic(1, 6) + bytes(3) + (1).to_bytes(3, "big") + b"\x09\x27") * 8192


def _aborts(_: bool) -> Iterator[bytes]:
    while True:
        yield write_message(2, 0, 0, bytes(4), chunk_size=128, csid=2) * 4096


def _pings(_: bool) -> Iterator[bytes]:
    """Each wants an answer, and none is read."""
    while True:
        yield write_message(4, 0, 0, b"\x00\x06" + bytes(4), chunk_size=128, csid=2) * 4096


def _partial(_: bool) -> Iterator[bytes]:
    """As much of unfinished messages as is taken, with a key."""
    csids = range(8, 8 + 50)
    for csid in csids:
        yield _head(csid, (1 << 22) - 1) + bytes(128)
    while True:
        for csid in csids:
            yield (_basic(3, csid) + bytes(128)) * 64


def _bytes(published: bool) -> Iterator[bytes]:
    """Segments of one byte: the handshake too, and then a video message that goes on and on."""
    if not published:
        for byte in GREETING + GREETING[1:] + CONNECT:
            yield bytes((byte,))
    while True:
        for byte in write_message(8, 1, 0, b"\xaf\x01" + bytes(60), chunk_size=128, csid=4):
            yield bytes((byte,))


_FLOODS: dict[str, Callable[[bool], Iterator[bytes]]] = {
    "empty": _empty, "short": _short, "aborts": _aborts, "pings": _pings, "bytes": _bytes, "partial": _partial,
}  # fmt: skip
