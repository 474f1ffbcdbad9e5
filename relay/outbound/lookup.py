"""Lookup: the addresses of a name, by the system's resolver, in threads that a silent name server holds up alone."""

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias

from relay.errors import AddressError

MOST = 64  # at a time, each a thread: what never answers holds one for as long as resolv.conf says

SockAddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class Answer(NamedTuple):
    """One address of a name, as getaddrinfo gives it."""

    family: socket.AddressFamily
    sockaddr: SockAddr


_running: dict[tuple[str, int], "Future[list[Answer]]"] = {}
_lock = threading.Lock()


async def lookup(host: str, port: int) -> list[Answer]:
    """Every TCP address of ``host``, in the resolver's order. Who asks for a name that is being looked up shares it.

    The event loop's own lookups have two threads for all: two dead names would keep every other from being found.
    Raises OSError, UnicodeError for what is no name, AddressError where too many are being looked up.
    """
    try:
        return _ask(host, port, socket.AI_NUMERICHOST)  # never waits: addresses in any spelling
    except socket.gaierror:
        return await asyncio.wrap_future(_begin(host, port))


def _begin(host: str, port: int) -> "Future[list[Answer]]":
    with _lock:
        future = _running.get((host, port))
        if future is None:
            if len(_running) >= MOST:
                raise AddressError(f"{host} is not looked up: {MOST} other names have no answer yet; check the DNS")
            future = _running[host, port] = Future()
            future.set_running_or_notify_cancel()  # whoever gives up waiting leaves it to the others
            # A daemon: the process ends without those that never come back.
            thread = threading.Thread(target=_work, args=(host, port, future), name="lookup", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                del _running[host, port]
                raise AddressError(f"{host} is not looked up: this machine gives no more threads") from error
        return future


def _work(host: str, port: int, future: "Future[list[Answer]]") -> None:
    try:
        found = _ask(host, port)
    except Exception as error:  # noqa: BLE001 - whoever waits is told
        _end(host, port)
        future.set_exception(error)
    else:
        _end(host, port)
        future.set_result(found)


def _end(host: str, port: int) -> None:
    with _lock:
        del _running[host, port]


def _ask(host: str, port: int, flags: int = 0) -> list[Answer]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)
    return [Answer(family, sockaddr) for family, _, _, _, sockaddr in found]
