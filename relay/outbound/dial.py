"""Dial: from a host name to an open, tuned transport, checked addresses only, TLS where asked for."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

from relay.config import Settings
from relay.errors import DestinationError
from relay.outbound.address import CheckedAddress, resolve

UNSENT_BYTES = 128 * 1024
KEEPALIVE_S = 5

TlsContext = Callable[[], Awaitable[ssl.SSLContext]]


class HandedSocket(socket.socket):
    """A socket to be handed to a transport: closed by whoever closes it, never by being forgotten.

    Where a connection is lost while it is made, uvloop's create_connection closes the descriptor by its number and
    leaves the socket open in its own eyes. Any other socket would close that number once more when it is collected,
    and by then it is somebody else's: another destination, a publisher, a file of the archive.
    """

    def __del__(self) -> None:
        """Nothing: in place of what closes a forgotten socket."""


def client_tls(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 or later, certificate and host name verified; ``outbound.ca_file`` is trusted beside the system's.

    Reads files: not for the loop. Raises DestinationError when the file is no use.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = settings.outbound.ca_file
    if path is not None:
        try:
            context.load_verify_locations(path)
        except OSError as error:  # ssl.SSLError is one too
            raise DestinationError(f"RELAY_OUTBOUND__CA_FILE {path} is no use: {reason(error)}", "config") from error
    return context


def shared_tls(settings: Settings) -> TlsContext:
    """One context for all who ask: reading the certificate store takes long enough to belong in a thread, once."""
    making: asyncio.Task[ssl.SSLContext] | None = None

    async def context() -> ssl.SSLContext:
        nonlocal making
        if making is None or (making.done() and (making.cancelled() or making.exception() is not None)):
            making = asyncio.create_task(asyncio.to_thread(client_tls, settings))
        return await asyncio.shield(making)

    return context


async def dial(
    host: str, port: int, protocol: asyncio.Protocol, settings: Settings, tls: TlsContext | None = None
) -> None:
    """Connect ``protocol`` to ``host``, with TLS when ``tls`` is given. Each step has ``limits.dial_s`` to end.

    Raises DestinationError (AddressError where policy forbids it) whose message says what to do.
    """
    where, dial_s = f"{host}:{port}", settings.limits.dial_s
    allow_private = settings.outbound.allow_private
    addresses = await resolve(host, port, allow_private=allow_private, timeout_s=dial_s)
    # Before connecting: its first use reads certificate stores in a thread, which is not the platform's time.
    context = await tls() if tls is not None else None
    sock = await _connect(addresses, where, settings)
    try:
        # The handshake has a deadline of its own: one that is cut off may leave its error to nobody.
        async with asyncio.timeout(2 * dial_s):
            await asyncio.get_running_loop().create_connection(
                lambda: protocol,
                sock=sock,
                ssl=context,
                server_hostname=host if context is not None else None,
                ssl_handshake_timeout=dial_s if context is not None else None,
            )
    except (TimeoutError, ConnectionAbortedError):
        if context is None:
            raise DestinationError(f"this relay is too busy to speak with {where}", "timeout") from None
        raise DestinationError(
            f"{where} accepted the connection but never answered the TLS handshake (waited {dial_s:g} s); "
            "is it an rtmps server?",
            "timeout",
        ) from None
    except ssl.SSLCertVerificationError as error:
        words = f"the certificate of {where} is not valid: {error.verify_message.rstrip('.')}"
        raise DestinationError(
            f"{words}; for a server of your own set RELAY_OUTBOUND__CA_FILE", "certificate"
        ) from error
    except OSError as error:  # ssl.SSLError is one too
        raise DestinationError(f"TLS with {where} failed: {reason(error)}", "tls") from error


async def _connect(addresses: list[CheckedAddress], where: str, settings: Settings) -> socket.socket:
    """A connected socket to the first of ``addresses`` that answers, all of them together within dial_s."""
    loop = asyncio.get_running_loop()
    dial_s = settings.limits.dial_s
    until = loop.time() + dial_s
    failure = DestinationError(f"{where} has no address", "connect")
    for index, address in enumerate(addresses):
        share_s = (until - loop.time()) / (len(addresses) - index)
        sock = None
        try:
            sock = HandedSocket(address.family, socket.SOCK_STREAM)
            sock.setblocking(False)
            _tune(sock, settings)
            async with asyncio.timeout(share_s):
                await loop.sock_connect(sock, address.sockaddr)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, TimeoutError):
                failure = DestinationError(f"{where} did not answer (waited {dial_s:g} s)", "timeout")
            elif isinstance(error, OSError):
                failure = DestinationError(f"cannot connect to {where}: {reason(error)}", "connect")
            else:
                raise
        else:
            return sock
    try:
        raise failure
    finally:
        del failure  # its traceback leads to this frame: the two would keep each other


def _tune(sock: socket.socket, settings: Settings) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A link that died without a word shows as unacknowledged bytes or unanswered probes: give up on it in time.
    stall_ms = int(settings.limits.write_stall_s * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    # What is late should wait where it can be counted and dropped to a keyframe, not in the kernel.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def reason(error: Exception) -> str:
    """What went wrong, in words, whichever layer said so."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
