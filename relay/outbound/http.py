"""HTTP client: sessions that connect to checked addresses only and follow nothing by themselves."""

import socket
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from relay.config import Settings
from relay.errors import AddressError, DestinationError
from relay.outbound.address import check, resolve
from relay.outbound.dial import HandedSocket, reason

INTERIM_MOST = 16
"""Answers that are not the answer yet (RFC 9110 §15.2) for one request."""

AddrInfo = tuple[int, int, int, str, tuple[object, ...]]


class CheckedResolver(AbstractResolver):
    """Names become checked addresses, or AddressError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All checked addresses of ``host``, of any family, in the system's order."""
        settings = self._settings
        found = await resolve(
            host, port, allow_private=settings.outbound.allow_private, timeout_s=settings.limits.dial_s
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(item.sockaddr[0]),
                port=port,
                family=item.family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for item in found
        ]

    async def close(self) -> None:
        """Nothing to close."""


class _Response(aiohttp.ClientResponse):
    """Fails after INTERIM_MOST interim answers: aiohttp would read them for ever, which takes a processor core."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        assert protocol is not None
        read, seen = protocol.read, 0

        async def counted() -> tuple[RawResponseMessage, aiohttp.StreamReader]:
            nonlocal seen
            message, payload = await read()
            seen += 1
            if seen > INTERIM_MOST:
                raise aiohttp.ServerConnectionError("interim answers without end")
            return message, payload

        protocol.read = counted  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            del protocol.read


def http_url(text: str) -> URL:
    """``text`` as an http or https URL with a host. Raises DestinationError in words that say what is wrong."""
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise DestinationError(f"not a URL: {error}", "config") from error
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise DestinationError("the URL must begin with http:// or https:// and name a host", "config")
    return url


def http_session(
    settings: Settings, tls: ssl.SSLContext | None = None, *, connections: int = 8
) -> aiohttp.ClientSession:
    """A session that dials by the outbound policy, names and literal addresses alike, with ``tls`` for https.

    No cookies, no proxies from the environment, no decompression: a compressed answer is the caller's to refuse.
    Requests must be made with ``allow_redirects=False``. Its requests raise aiohttp.ClientError, TimeoutError or
    AddressError; ``explain`` makes one DestinationError of them.
    """

    def checked(info: AddrInfo) -> socket.socket:
        address = str(info[4][0])
        check(address, address, allow_private=settings.outbound.allow_private)
        return HandedSocket(info[0], info[1], info[2])

    connector = aiohttp.TCPConnector(
        resolver=CheckedResolver(settings),
        use_dns_cache=False,
        limit=connections,
        ssl=tls if tls is not None else True,
        socket_factory=checked,
    )
    limits = settings.limits
    return aiohttp.ClientSession(
        connector=connector,
        response_class=_Response,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"User-Agent": "field-relay", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, connect=limits.dial_s * 2, sock_read=limits.write_stall_s),
    )


def explain(error: BaseException, where: str) -> DestinationError:
    """A failed request to ``where`` (host and port, never the whole URL) as a DestinationError with an outcome."""
    explained = _explained(error, where)
    _let_go(error)
    return explained


def _explained(error: BaseException, where: str) -> DestinationError:
    if isinstance(error, DestinationError):
        return error
    inner = error.__cause__ or error.__context__
    if isinstance(inner, AddressError):
        return inner
    if isinstance(error, aiohttp.InvalidURL):  # a number with too many noughts, say
        return AddressError(f"{where} is no host that can be dialled; check the URL")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return DestinationError(
            f"the certificate of {where} is not valid; for a server of your own set RELAY_OUTBOUND__CA_FILE",
            "certificate",
        )
    if isinstance(error, TimeoutError):
        return DestinationError(f"{where} did not answer in time", "timeout")
    if isinstance(error, aiohttp.ClientConnectorError):
        return DestinationError(f"cannot connect to {where}: {reason(error.os_error)}", "connect")
    if isinstance(error, aiohttp.ClientError | OSError):
        return DestinationError(f"the exchange with {where} failed ({type(error).__name__})", "closed")
    raise error


def _let_go(error: BaseException) -> None:
    """Drop the frames of a failed request, which nobody looks at any more.

    They hold its connection (256 KiB of it are uvloop's, with TLS), which holds the error: a circle that would wait for
    the collector, and where a host fails again and again that is late.
    """
    waiting, known = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) not in known:
            known.add(id(each))
            each.__traceback__ = None
            linked = (each.__cause__, each.__context__, getattr(each, "os_error", None))
            waiting += [other for other in linked if isinstance(other, BaseException)]
