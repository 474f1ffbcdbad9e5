"""What strangers do: ``python -m tests.attack.strangers WHAT JSON`` does one thing to a port and prints what it saw."""

import contextlib
import json
import os
import random
import selectors
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from relay.protocol.amf0 import encode
from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.client import ClientConnection
from relay.protocol.rtmp.events import Established, Rejected
from tests.attack.bombs import BOMBS

GREETING = b"\x03" + bytes(8) + os.urandom(1528)
CONNECT = write_message(
    20, 0, 0, encode("connect", 1, {"app": "live", "tcUrl": "rtmp://h/live"}), chunk_size=128, csid=3
)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST, leaving nothing behind in TIME_WAIT


def address(number: int) -> str:
    """A loopback address of its own for each of 64,000 strangers."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def dial(port: int, number: int | None = None, timeout: float = 10.0) -> socket.socket:
    """A connection from ``address(number)``, or from where everybody is."""
    made = socket.socket()
    made.settimeout(timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if number is not None:
        made.bind((address(number), 0))
    try:
        made.connect(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


def greet(made: socket.socket) -> None:
    """The handshake."""
    made.sendall(GREETING)
    answer = 0
    while answer < 1 + 2 * 1536:
        data = made.recv(4096)
        if not data:
            raise ConnectionError("closed in the handshake")
        answer += len(data)
    made.sendall(GREETING[1:])


def publish(port: int, key: str, number: int | None = None) -> socket.socket:
    """A connection that publishes with ``key``. Raises ConnectionError where it may not."""
    made = dial(port, number)
    told = ask(made, key)
    if told != "Established":
        raise ConnectionError(told)
    return made


def ask(made: socket.socket, key: str) -> str:
    """Connect and publish on ``made``: Established, the words of a refusal, or "" where it was just closed."""
    client = ClientConnection(
        app="live", tc_url="rtmp://h/live", stream_name=key, nonce=os.urandom(3072), now=0.0, digest=False
    )
    while True:
        made.sendall(client.data_to_send())
        data = made.recv(65536)
        if not data:
            return ""
        for event in client.receive(data, 0.0):
            if isinstance(event, Established):
                return "Established"
            if isinstance(event, Rejected):
                return event.description


def is_closed(made: socket.socket, within: float) -> bool:
    """Whether the relay ends it, whatever it says before that."""
    until = time.monotonic() + within
    while (left := until - time.monotonic()) > 0:
        made.settimeout(left)
        try:
            if not made.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


# --- chunks ------------------------------------------------------------------------------------------------------


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


# --- connections -------------------------------------------------------------------------------------------------


def slow_handshakes(port: int, connections: int, addresses: int, seconds: float, every_s: float) -> dict[str, Any]:
    """``connections`` kept up, each of which sends a byte of its handshake ``every_s``; a closed one begins anew."""
    held: dict[int, tuple[socket.socket, int]] = {}
    seen: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        turn = time.monotonic()
        for place in range(connections):
            if place in held:
                made, at = held[place]
                try:
                    made.send(GREETING[at : at + 1])
                    held[place] = made, at + 1
                except OSError:
                    seen["ended"] += 1
                    held.pop(place)[0].close()
            else:
                with contextlib.suppress(OSError):
                    made = dial(port, place % addresses, 1.0)
                    made.setblocking(False)
                    held[place] = made, 0
                    seen["dialled"] += 1
        seen["held most"] = max(seen["held most"], len(held))
        time.sleep(max(0.0, every_s - (time.monotonic() - turn)))
    return dict(seen)


def churn(port: int, a_second: int, addresses: int, seconds: float, greeting: bool = True) -> dict[str, Any]:
    """Connect and go, ``a_second`` times; every second one says hello."""
    seen: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(int(a_second * seconds)):
        late_s = time.monotonic() - began - number / a_second
        if late_s < 0:
            time.sleep(-late_s)
        try:
            made = dial(port, number % addresses, 1.0)
        except OSError:
            seen["not connected"] += 1
            continue
        with made:
            seen["connected"] += 1
            with contextlib.suppress(OSError):
                if greeting and number % 2:
                    made.send(GREETING)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    took_s = time.monotonic() - began
    return {**seen, "a second": round(sum(seen.values()) / took_s)}


def hold(port: int, connections: int, addresses: int, seconds: float) -> dict[str, Any]:
    """Open ``connections`` as fast as it goes and keep those there are, silent; a closed one is opened again."""
    selector = selectors.DefaultSelector()
    seen: Counter[str] = Counter()
    until = time.monotonic() + seconds
    open_now = 0
    while time.monotonic() < until:
        while open_now < connections and time.monotonic() < until:
            try:
                made = dial(port, seen["dialled"] % addresses, 0.5)
            except OSError:
                seen["not connected"] += 1
                break
            seen["dialled"] += 1
            made.setblocking(False)
            selector.register(made, selectors.EVENT_READ)
            open_now += 1
            seen["most"] = max(seen["most"], open_now)
            if seen["dialled"] % 50 == 0:
                break
        for key, _ in selector.select(0.01):
            made = key.fileobj  # type: ignore[assignment]
            with contextlib.suppress(BlockingIOError):
                try:
                    data = made.recv(4096)
                except ConnectionError:
                    data = b""
                if not data:
                    selector.unregister(made)
                    made.close()
                    open_now -= 1
                    seen["ended"] += 1
    return dict(seen)


def guess(port: int, addresses: int, each: int, at_once: int = 8) -> dict[str, Any]:
    """``each`` guesses at a stream key from every one of ``addresses``; what the relay answered.

    ``addresses`` 0: from where everybody is.
    """
    began = time.monotonic()
    answers: Counter[str] = Counter()
    most: Counter[int | None] = Counter()
    sources = list(range(addresses)) or [None]
    left = iter([number for _ in range(each) for number in sources])
    lock = threading.Lock()

    def one() -> None:
        while True:
            with lock:
                number = next(left, -1)
            if number == -1:
                return
            try:
                with dial(port, number) as made:
                    told = ask(made, f"guess{random.getrandbits(64):016x}")
            except OSError:
                told = ""
            kind = "throttled" if "too many wrong" in told else "wrong" if "wrong key" in told else told or "closed"
            with lock:
                answers[kind] += 1
                most[number] += kind == "wrong"

    threads = [threading.Thread(target=one) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": dict(answers), "most from one": max(most.values()), "took_s": time.monotonic() - began}


def connects(port: int, keys: list[str], count: int, every_s: float, first_source: int = -1) -> dict[str, Any]:
    """An honest publisher's side: connect, publish and leave, ``count`` times; how long it took, in seconds.

    ``first_source``: the number of the first address, for another each time.
    """
    took: list[float] = []
    failed: Counter[str] = Counter()
    for number in range(count):
        started = time.monotonic()
        try:
            with publish(port, keys[number % len(keys)], None if first_source < 0 else first_source + number):
                took.append(time.monotonic() - started)
        except (OSError, ConnectionError) as error:
            failed[str(error) or type(error).__name__] += 1
        time.sleep(every_s)
    return {"took": sorted(took), "failed": dict(failed)}


def bombs(port: int, rounds: int) -> dict[str, Any]:
    """Every AMF bomb, ``rounds`` times; those that were not answered as they must."""
    wrong: Counter[str] = Counter()
    for number in range(rounds):
        for bomb in BOMBS:
            with dial(port, number) as made:
                greet(made)
                made.sendall(write_message(20, 0, 0, bomb.payload, chunk_size=128, csid=3))
                answer = _all(made, within=1.0 if bomb.ends else 0.1)
            # What ends is told why, where it had connected; what does not has its answer.
            is_answered = bomb.ends or b"NetConnection.Connect.Success" in b"".join(answer)
            if (answer[-1:] == [b""]) is not bomb.ends or not is_answered:
                wrong[bomb.name] += 1
    return {"wrong": dict(wrong)}


def _all(made: socket.socket, within: float) -> list[bytes]:
    """All that comes; b"" last where it was closed."""
    found: list[bytes] = []
    made.settimeout(within)
    while found[-1:] != [b""]:
        try:
            found.append(made.recv(65536))
        except TimeoutError:
            break
        except ConnectionError:
            found.append(b"")
    return found


WHAT: dict[str, Callable[..., dict[str, Any]]] = {
    made.__name__: made  # type: ignore[attr-defined]
    for made in (chunk_sizes, half_sent, flood, slow_handshakes, churn, hold, guess, connects, bombs)
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(WHAT[sys.argv[1]](**json.loads(sys.argv[2]))))
