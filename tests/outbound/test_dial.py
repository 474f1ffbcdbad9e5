"""Dialling: certificates verified, every step bounded, every failure in words that help."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import struct
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop

from relay.config import Settings
from relay.errors import AddressError, DestinationError
from relay.outbound.address import CheckedAddress
from relay.outbound.dial import _connect, client_tls, dial, shared_tls
from tests.egress.conftest import MakeSettings
from tests.support.collector import no_collector
from tests.support.process import free_port
from tests.support.tls import make_certificates

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Ear(asyncio.Protocol):
    """Keeps its transport and knows when it is gone."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's TLS transport is one in all but name

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set_result(None)


async def attempt(port: int, settings: Settings, *, host: str = "localhost", tls: bool = True) -> ssl.SSLObject | None:
    """Dial, hang up; the TLS facts of the connection."""

    async def context() -> ssl.SSLContext:
        return client_tls(settings)

    ear = Ear()
    await dial(host, port, ear, settings, context if tls else None)
    assert ear.transport is not None
    found: ssl.SSLObject | None = ear.transport.get_extra_info("ssl_object")
    ear.transport.abort()
    await ear.gone
    return found


async def hush(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what comes and never say a word."""
    await reader.read()


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in another protocol."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None, converse: Converse = hush) -> AsyncIterator[int]:
    """The port of a server that lives for the block and has closed everything afterwards."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await converse(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        # The far side of what was just given up needs a moment to see it.
        await asyncio.sleep(0.05)


async def test_a_good_certificate_of_ones_own_authority(tmp_path: Path, make_settings: MakeSettings) -> None:
    certificates = make_certificates(tmp_path)
    async with listening(certificates.server_context()) as port:
        tls = await attempt(port, make_settings(ca_file=certificates.authority))
    assert tls is not None
    assert tls.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize(
    ("host", "expired", "trusted", "words"),
    [
        ("localhost", True, True, "certificate has expired"),
        ("elsewhere.example", False, True, "Hostname mismatch"),
        ("localhost", False, False, "unable to get local issuer certificate"),
    ],
)
async def test_a_bad_certificate_is_refused(
    host: str, expired: bool, trusted: bool, words: str, tmp_path: Path, make_settings: MakeSettings
) -> None:
    certificates = make_certificates(tmp_path, host=host, expired=expired)
    settings = make_settings(ca_file=certificates.authority if trusted else None)
    async with listening(certificates.server_context()) as port:
        with pytest.raises(DestinationError, match=words) as caught:
            await attempt(port, settings)
    assert caught.value.outcome == "certificate"
    assert "RELAY_OUTBOUND__CA_FILE" in str(caught.value)


async def test_old_tls_is_refused(tmp_path: Path, make_settings: MakeSettings) -> None:
    certificates = make_certificates(tmp_path)
    context = certificates.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(context) as port:
        with pytest.raises(DestinationError, match="TLS with localhost") as caught:
            await attempt(port, make_settings(ca_file=certificates.authority))
    assert caught.value.outcome == "tls"


async def test_a_server_silent_before_tls_is_given_up(settings: Settings) -> None:
    async with listening() as port:
        with pytest.raises(DestinationError, match="never answered the TLS handshake") as caught:
            await attempt(port, settings)
    assert caught.value.outcome == "timeout"


async def test_a_server_that_speaks_no_tls_says_so(settings: Settings) -> None:
    async with listening(converse=plain) as port:
        with pytest.raises(DestinationError, match="wrong version number") as caught:
            await attempt(port, settings)
    assert caught.value.outcome == "tls"


async def test_nothing_listens(settings: Settings) -> None:
    with pytest.raises(DestinationError, match=r"cannot connect to 127\.0\.0\.1:\d+: Connection refused") as caught:
        await attempt(free_port(), settings, host="127.0.0.1", tls=False)
    assert caught.value.outcome == "connect"


async def test_a_failure_is_gone_without_the_collector(settings: Settings) -> None:
    async def fail() -> "weakref.ref[BaseException]":
        try:
            await _connect([CheckedAddress(socket.AF_INET, ("127.0.0.1", free_port()))], "host", settings)
        except DestinationError as error:
            return weakref.ref(error)
        raise AssertionError("it did not fail")

    with no_collector():
        left = await fail()
        assert left() is None


async def test_the_loopback_is_refused_unless_allowed(make_settings: MakeSettings) -> None:
    async with listening() as port:
        with pytest.raises(AddressError, match="RELAY_OUTBOUND__ALLOW_PRIVATE=true"):
            await attempt(port, make_settings(allow_private=False), tls=False)


async def test_every_checked_address_is_tried_in_turn(settings: Settings) -> None:
    """The first answers nothing (a full accept queue, as a silent host would look), the second takes it."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        async with listening() as port:
            addresses = [CheckedAddress(socket.AF_INET, where) for where in (deaf.getsockname(), ("127.0.0.1", port))]
            sock = await _connect(addresses, "host", settings)
            assert sock.getpeername()[1] == port
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2000
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            sock.close()
        with pytest.raises(DestinationError, match="host did not answer"):
            await _connect(addresses[:1], "host", settings)
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_unusable_authority_file_is_named(content: str | None, tmp_path: Path, make_settings: MakeSettings) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DestinationError, match=r"RELAY_OUTBOUND__CA_FILE .*ca\.pem") as caught:
        client_tls(make_settings(ca_file=path))
    assert caught.value.outcome == "config"


async def test_one_context_serves_all_and_a_failure_is_not_remembered(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    made = shared_tls(make_settings())
    first, second = await asyncio.gather(made(), made())
    assert first is second is await made()
    late = tmp_path / "late.pem"
    broken = shared_tls(make_settings(ca_file=late))
    with pytest.raises(DestinationError, match="CA_FILE"):
        await broken()
    late.write_bytes(make_certificates(tmp_path / "tls").authority.read_bytes())
    assert isinstance(await broken(), ssl.SSLContext)


class Hasty(asyncio.Protocol):
    """Writes at once, as every client that speaks first does, to a peer that has reset the connection by then."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer, _ = self._listening.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.transport.write(b"hello")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)


def test_a_peer_that_resets_at_once_closes_no_others_descriptor(settings: Settings) -> None:
    """Seen failing: uvloop had closed the descriptor by its number, and the forgotten socket closed it once more."""

    async def attempts(listening: socket.socket) -> None:
        for _ in range(5):
            protocol = Hasty(listening)
            await dial("127.0.0.1", listening.getsockname()[1], protocol, settings)
            await asyncio.wait_for(protocol.lost, 5)
            others = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
            del protocol
            gc.collect()
            for descriptor in others:
                os.close(descriptor)  # EBADF where somebody has been here

    with socket.create_server(("127.0.0.1", 0)) as listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
        run.run(attempts(listening))  # what a loop opens is open now
        before = len(os.listdir("/proc/self/fd"))
        run.run(attempts(listening))
        assert len(os.listdir("/proc/self/fd")) == before
