"""Listening: sockets for strangers, how many of them there may be, TLS, and errors that name the setting."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable

import structlog

from relay.budget import ConnectionBudget, Place
from relay.config import split_address
from relay.errors import ConfigError, LimitError

BACKLOG = 1024
AT_ONCE = 64  # connections taken before others have their turn
REST_S = 0.2  # of a listener, where there are no descriptors left
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = structlog.get_logger(__name__)


def raise_descriptor_limit() -> int:
    """Let this process have as many open files as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # where the system has a lower one of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


def open_descriptors() -> int:
    """How many this process has open; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class Listener:
    """One address. ``close`` stops it; connections there are go on. ``is_resting``: it cannot take any just now."""

    def __init__(
        self,
        connect: Callable[[Place], asyncio.BaseProtocol],
        sockets: list[socket.socket],
        tls: ssl.SSLContext | None,
        *,
        what: str,
        handshake_s: float,
        budget: ConnectionBudget,
        counted: bool,
    ) -> None:
        self._connect = connect
        self._sockets = sockets
        self._tls = tls
        self._what = what
        self._handshake_s = handshake_s
        self._budget = budget
        self._counted = counted
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self.port = int(sockets[0].getsockname()[1])
        self._listen()

    @property
    def is_resting(self) -> bool:
        return self._rest is not None

    def close(self) -> None:
        """Stop listening, and end what has not got through its TLS handshake. Idempotent."""
        if self._rest is not None:
            self._rest.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets = []
        for task in self._opening:
            task.cancel()

    def _listen(self) -> None:
        self._rest = None
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                made, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    log.warning("a connection could not be taken", door=self._what, error=str(error))
                    continue
                # The listener stays readable: looking again at once would take all the time there is.
                self._budget.hits["descriptors"] += 1
                log.error("no more connections can be taken for now", door=self._what, error=error.strerror)
                for other in self._sockets:
                    self._loop.remove_reader(other)
                self._rest = self._loop.call_later(REST_S, self._listen)
                return
            if self._take(made, str(peer[0]) if peer else "?"):
                return

    def _take(self, made: socket.socket, address: str) -> bool:
        """Whether another must close before the next is taken: until then it still has its descriptor."""
        now = self._loop.time()
        try:
            place = self._budget.enter(address, now, counted=self._counted)
            if self._tls is not None:
                self._budget.handshake(place, self._what, now)
        except LimitError as error:
            made.close()
            log.warning("connection refused", door=self._what, address=address, limit=error.limit, reason=str(error))
            return False
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._open(made, place))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return place.displaced

    async def _open(self, made: socket.socket, place: Place) -> None:
        """Give it a protocol, which has the place then, behind TLS where there is any. It is closed if that fails."""
        handshake_s = self._handshake_s if self._tls is not None else None
        task = asyncio.current_task()
        assert task is not None
        place.close = task.cancel  # until the protocol knows better
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._connect(place), made, ssl=self._tls, ssl_handshake_timeout=handshake_s
            )
        except asyncio.CancelledError:
            self._failed(made, place, place.evicted or "the relay is shutting down")
        except (OSError, TimeoutError) as error:  # ssl.SSLError is one
            words = getattr(error, "reason", None) or str(error) or "too slow"
            self._failed(made, place, f"TLS handshake failed: {words}")
            if not isinstance(error, ssl.SSLError):
                self._budget.hits["handshake"] += 1

    def _failed(self, made: socket.socket, place: Place, reason: str) -> None:
        place.leave()
        made.close()
        log.info("connection ended", door=self._what, address=place.address, reason=reason)


async def listen(
    connect: Callable[[Place], asyncio.BaseProtocol],
    address: str,
    tls: ssl.SSLContext | None,
    *,
    what: str,
    setting: str,
    handshake_s: float,
    budget: ConnectionBudget,
    counted: bool = True,
) -> Listener:
    """A listener; its port is the one asked for, or what the system chose for 0. TLS has ``handshake_s`` in all.

    ``connect`` makes the protocol of a connection, which must ``leave`` the place it is given, where these are
    ``counted``. Raises ConfigError saying ``what`` cannot be listened for and which ``setting`` (``section.key``) to
    change.
    """
    host, port = split_address(address)
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, where in dict.fromkeys(found):
            sockets.append(made := socket.socket(family, kind, protocol))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((where[0], port or sockets[0].getsockname()[1], *where[2:]))
            made.listen(BACKLOG)
            made.setblocking(False)
    except OSError as error:
        for made in sockets:
            made.close()
        variable = f"RELAY_{setting.replace('.', '__').upper()}"
        raise ConfigError(
            f"cannot listen for {what} on {address}: {error.strerror or error}; "
            f"set {variable} (or {setting} in the settings file) to a free address"
        ) from error
    return Listener(connect, sockets, tls, what=what, handshake_s=handshake_s, budget=budget, counted=counted)


class Quiet:
    """A logger for aiohttp: faults of clients are not ours to log, and their addresses have keys in them."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
