"""Crowds: many connections, for their own sake, to guess keys, to drop bombs, and honest ones among them."""

import contextlib
import random
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Any

from relay.protocol.rtmp.chunk import write_message
from tests.attack.bombs import BOMBS
from tests.attack.peers import GREETING, RESET, ask, dial, greet, publish


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


def tls_churn(port: int, addresses: int, first: int, seconds: float) -> dict[str, Any]:
    """One TLS handshake after the other, as many as one process can, each from another address."""
    seen: Counter[str] = Counter()
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        try:
            with dial(port, first + number % addresses, 5.0) as made, client.wrap_socket(made) as wrapped:
                wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                seen["handshakes"] += 1
        except OSError:
            seen["refused"] += 1
    return {**seen, "a second": round(sum(seen.values()) / seconds)}


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
