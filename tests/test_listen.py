"""Listening: taken ports name their setting; places, TLS deadlines, no descriptors left."""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from relay.budget import ConnectionBudget, Place
from relay.certificates import Certificate
from relay.config import LimitSettings
from relay.errors import ConfigError
from relay.listen import Listener, Quiet, listen, open_descriptors, raise_descriptor_limit
from tests.support.tls import make_certificates


class Echo(asyncio.Protocol):
    """Says hello and leaves its place."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        self.place.close = transport.abort

    def connection_lost(self, error: Exception | None) -> None:
        self.place.leave()


class Door:
    def __init__(self, **limits: object) -> None:
        self.budget = ConnectionBudget(LimitSettings.model_validate(limits))
        self.listener: Listener

    async def open(self, address: str = "127.0.0.1:0", tls: Path | None = None, handshake_s: float = 5.0) -> None:
        made = None
        if tls is not None:
            certificates = make_certificates(tls)
            made = Certificate("rtmps", certificates.certificate, certificates.key, "rtmp").context
        self.listener = await listen(
            Echo, address, made, what="tests", setting="rtmp.tls_listen", handshake_s=handshake_s, budget=self.budget
        )

    async def greets(self) -> bool:
        """Whether a new connection is taken."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        try:
            async with asyncio.timeout(10):
                return await reader.read(5) == b"hello"
        except ConnectionError:
            return False
        finally:
            writer.close()

    async def empty(self) -> None:
        async with asyncio.timeout(10):
            while self.budget.total:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door(connections=2, connections_unauthenticated=2)
    yield made
    made.listener.close()


async def test_a_listener_gives_its_port_and_a_taken_one_names_its_setting(door: Door) -> None:
    await door.open()
    assert door.listener.port > 0
    assert await door.greets()
    with pytest.raises(ConfigError, match=r"cannot listen for tests .*RELAY_RTMP__TLS_LISTEN .*rtmp\.tls_listen"):
        await door.open(f"127.0.0.1:{door.listener.port}")


async def test_a_name_of_both_families_is_listened_on_at_one_port(door: Door) -> None:
    await door.open("localhost:0")
    assert await door.greets()
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))  # where this machine has IPv6 at all
        reader, writer = await asyncio.open_connection("::1", door.listener.port)
        assert await reader.read(5) == b"hello"
        writer.close()


async def test_one_too_many_is_closed_at_once_and_told_in_one_line(door: Door) -> None:
    await door.open()
    with structlog.testing.capture_logs() as told:
        others = [await asyncio.open_connection("127.0.0.1", door.listener.port) for _ in range(2)]
        for reader, _ in others:
            await reader.read(5)
        assert not await door.greets()
        for _, writer in others:
            writer.close()
        await door.empty()
        assert await door.greets()
    assert [(item["event"], item["limit"]) for item in told] == [("connection refused", "connections")]
    assert door.budget.hits == {"connections": 1}


async def test_strangers_that_want_tls_handshakes_all_day_are_refused_before_they_have_one(tmp_path: Path) -> None:
    door = Door(tls_handshakes_per_s=2)
    await door.open(tls=tmp_path)
    client = make_certificates(tmp_path / "other").client_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

    async def shakes() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.listener.port, ssl=client)
        except (ConnectionError, ssl.SSLError):
            return False
        assert await reader.read(5) == b"hello"
        writer.close()
        return True

    with structlog.testing.capture_logs() as told:
        assert [await shakes() for _ in range(4)] == [True, True, False, False]
        door.budget.enter("127.0.0.1", asyncio.get_running_loop().time()).authenticate()
        assert await shakes(), "a key was shown from there"
    refused = [item["limit"] for item in told if item["event"] == "connection refused"]
    assert refused == ["tls_handshakes", "tls_handshakes"]
    assert door.budget.hits["tls_handshakes"] == 2
    door.listener.close()


async def test_a_tls_handshake_has_an_absolute_deadline_and_its_place_from_the_start(
    door: Door, tmp_path: Path
) -> None:
    """A byte now and then buys no time; who does not begin holds one of the places for strangers."""
    await door.open(tls=tmp_path, handshake_s=1.0)
    with structlog.testing.capture_logs() as told:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.listener.port)
        began = asyncio.get_running_loop().time()
        hello = b"\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03" + bytes(4000)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(hello[sent : sent + 1])
                sent += 1
                assert door.budget.total == 1 or sent > 5
                with contextlib.suppress(TimeoutError):
                    assert await asyncio.wait_for(reader.read(100), 0.1) == b""
                assert asyncio.get_running_loop().time() - began < 10
        writer.close()
        await door.empty()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.listener.port)
        writer.write(b"\x03" + bytes(1536))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        await door.empty()
    assert [item["event"] for item in told] == ["connection ended"] * 2
    assert all("TLS handshake failed" in item["reason"] for item in told)
    assert door.budget.hits == {"handshake": 1}


async def test_without_descriptors_a_listener_rests_and_then_goes_on(door: Door) -> None:
    await door.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop = asyncio.get_running_loop()
    with socket.socket() as client, structlog.testing.capture_logs() as told:
        client.setblocking(False)
        with contextlib.ExitStack() as files:
            files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 16, hard))
            with contextlib.suppress(OSError):
                while True:
                    files.enter_context(open("/dev/null", "rb"))
            await loop.sock_connect(client, ("127.0.0.1", door.listener.port))
            await asyncio.sleep(1.0)
            async with asyncio.timeout(10):
                while not door.listener.is_resting:  # noqa: ASYNC110 - for a moment it looks again
                    await asyncio.sleep(0.01)
            assert 1 <= door.budget.hits["descriptors"] <= 10, "it looks again a few times a second"
        async with asyncio.timeout(10):
            assert await loop.sock_recv(client, 5) == b"hello"
        assert not door.listener.is_resting
    assert {item["event"] for item in told} == {"no more connections can be taken for now"}
    assert await door.greets()


async def test_closing_ends_what_is_still_in_its_handshake(door: Door, tmp_path: Path) -> None:
    await door.open(tls=tmp_path)
    with structlog.testing.capture_logs() as told:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.listener.port)
        await asyncio.sleep(0.1)
        assert door.budget.total == 1
        door.listener.close()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await door.empty()
    assert [item["reason"] for item in told] == ["the relay is shutting down"]
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", door.listener.port)


def test_a_process_takes_the_descriptors_it_may_have() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
        assert raise_descriptor_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = open_descriptors()
    with socket.socket():
        assert open_descriptors() == before + 1


def test_a_quiet_logger_takes_anything() -> None:
    assert Quiet().exception("words", 1, exc_info=True) is None
