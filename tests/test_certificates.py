"""Certificates: a new one is shown to who comes next, open connections go on, one that is no use changes nothing."""

import asyncio
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from relay.budget import ConnectionBudget
from relay.certificates import SOON_S, Certificate, Watch
from relay.config import LimitSettings
from relay.errors import ConfigError
from relay.listen import listen
from tests.support.tls import Certificates, make_certificates


def put(made: Certificates, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copy(made.certificate, folder / "certificate.pem")
    shutil.copy(made.key, folder / "key.pem")


def serial(made: Certificates) -> int:
    return x509.load_pem_x509_certificate(made.certificate.read_bytes()).serial_number


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Listener:
    """A listener, and the certificate it shows."""

    def __init__(self, certificate: Certificate, port: int, folder: Path) -> None:
        self.certificate = certificate
        self.port = port
        self.folder = folder

    async def connect(self, name: str | None = "localhost") -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """An open connection and the serial number it was shown; ``name`` None: without SNI."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname="" if name is None else name
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return reader, writer, x509.load_der_x509_certificate(shown).serial_number

    async def shown(self, name: str | None = "localhost") -> int:
        _, writer, number = await self.connect(name)
        writer.close()
        return number


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    folder = tmp_path / "in-use"
    put(make_certificates(tmp_path / "first"), folder)
    certificate = Certificate("rtmps", folder / "certificate.pem", folder / "key.pem", "rtmp")
    opened = await listen(
        lambda place: Echo(),
        "127.0.0.1:0",
        certificate.context,
        what="tests",
        setting="rtmp.tls_listen",
        handshake_s=5.0,
        budget=ConnectionBudget(LimitSettings()),
    )
    yield Listener(certificate, opened.port, folder)
    opened.close()


@pytest.mark.parametrize("name", ["localhost", None])
async def test_a_new_one_is_shown_to_the_next_and_drops_nobody(
    listener: Listener, tmp_path: Path, name: str | None
) -> None:
    reader, writer, before = await listener.connect(name)
    second = make_certificates(tmp_path / "second")
    put(second, listener.folder)
    assert await listener.shown(name) == before
    await asyncio.to_thread(listener.certificate.look)
    assert await listener.shown(name) == serial(second) != before
    writer.write(b"still here")
    async with asyncio.timeout(10):
        assert await reader.readexactly(10) == b"still here"
    writer.close()


async def test_one_that_is_no_use_leaves_the_one_before_and_says_so(listener: Listener, tmp_path: Path) -> None:
    before = await listener.shown()
    certificate = listener.certificate
    good_until = certificate.expires_at
    second = make_certificates(tmp_path / "second")
    harms = {
        "another's key": lambda: shutil.copy(second.certificate, listener.folder / "certificate.pem"),
        "not PEM": lambda: (listener.folder / "certificate.pem").write_text("nonsense"),
        "gone": lambda: (listener.folder / "key.pem").unlink(),
        "expired": lambda: put(make_certificates(tmp_path / "old", expired=True), listener.folder),
    }
    for count, (harm, do) in enumerate(harms.items(), 1):
        do()
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):  # it is said once
                certificate.look()
        assert [entry["log_level"] for entry in logs if "no use" in entry["event"]] == ["error"], harm
        assert (certificate.failures, bool(certificate.problem)) == (count, True), harm
        assert certificate.expires_at == good_until, harm
        assert await listener.shown() == before, harm
    put(second, listener.folder)
    certificate.look()
    assert (certificate.problem, await listener.shown()) == ("", serial(second))


async def test_the_one_shown_must_not_be_old_for_long(listener: Listener) -> None:
    certificate = listener.certificate
    assert 0 < certificate.expires_at - time.time() < SOON_S  # ten days
    words = []
    for at in (0.0, 3600.0, 86_400.0 + 1, 20 * 86_400.0):
        with structlog.testing.capture_logs() as logs:
            certificate.look(time.time() + at)
        words.append([entry["event"] for entry in logs])
    assert words == [["a certificate expires soon"], [], ["a certificate expires soon"], ["a certificate has expired"]]


async def test_a_watch_looks_when_it_is_asked_to(listener: Listener, tmp_path: Path) -> None:
    watch = Watch(lambda: [listener.certificate])
    watch.start()
    second = make_certificates(tmp_path / "second")
    put(second, listener.folder)
    watch.look()
    async with asyncio.timeout(30):
        while await listener.shown() != serial(second):
            await asyncio.sleep(0.02)
            watch.look()
    await watch.close()


def test_at_the_start_one_that_is_no_use_names_its_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pem .*rtmp\.tls_certificate"):
        Certificate("rtmps", tmp_path / "none.pem", None, "rtmp")
