"""Secrets, end to end: through a relay at work and in trouble none is let out; RTMPS and HTTPS go on over a renewal."""

import asyncio
import os
import shutil
import signal
import ssl
import time
from pathlib import Path

from cryptography import x509

from tests.attack.canary import canary
from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.tls import Certificates, make_certificates

FULL = os.environ.get("RELAY_TEST_FULL") == "1"


async def test_no_secret_is_let_out_whatever_happens(processes: Processes, tmp_path: Path) -> None:
    rows = await canary(processes, tmp_path, quick=not FULL)
    places = {row.what.partition(": ")[2].partition(" (")[0] for row in rows}
    for place in ("log", "metrics", "database", "object keys", "objects", "environments of children", "as a viewer"):
        assert place in places
    assert [row for row in rows if not row.good] == []


async def shown(port: int) -> int:
    """The serial number of the certificate a listener shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True)).serial_number
    finally:
        writer.transport.abort()


async def until_shown(port: int, made: Certificates) -> None:
    wanted = x509.load_pem_x509_certificate(made.certificate.read_bytes()).serial_number
    async with asyncio.timeout(20):
        while await shown(port) != wanted:  # noqa: ASYNC110 - another process is to show it
            await asyncio.sleep(0.05)


def put(made: Certificates, folder: Path) -> None:
    for name in ("certificate.pem", "key.pem"):
        shutil.copy(made.certificate.with_name(name), folder / name)


async def test_certificates_are_renewed_under_a_stream_that_goes_on(start_relay: Start, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    first = make_certificates(folder)
    tls = {"TLS_CERTIFICATE": folder / "certificate.pem", "TLS_KEY": folder / "key.pem"}
    settings = {f"{section}__{key}": value for section in ("RTMP", "INGEST_HTTP") for key, value in tls.items()}
    relay = await start_relay(**settings)
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.Clip("renewal", clips.H264.video, clips.H264.audio, seconds=6))
    context = ssl.create_default_context(cafile=first.authority)
    url = f"rtmps://localhost:{relay.rtmps_port}/live/{channel['stream_key']}"
    second = make_certificates(tmp_path / "second")
    async with Publisher(url, tls=context) as publisher:
        sending = asyncio.create_task(publisher.send(clip))
        await relay.wait_channel("talk", "live")
        put(second, folder)
        os.kill(relay.pid, signal.SIGHUP)
        for port in (relay.rtmps_port, relay.ingest_http_port):
            await until_shown(port, second)
        (folder / "key.pem").write_text("nonsense")
        os.kill(relay.pid, signal.SIGHUP)
        sample = 'relay_certificate_refused{listener="rtmps"}'
        async with asyncio.timeout(20):
            while (await relay.metrics())[sample] != 1:  # noqa: ASYNC110 - another process is to say it
                await asyncio.sleep(0.05)
        await until_shown(relay.rtmps_port, second)
        await relay.fetch("/readyz")
        await sending
    recording = await relay.recording("talk")
    assert (recording["gap_s"], (await relay.channel("talk"))["takeovers"]) == (0, 0)
    left_s = (await relay.metrics())['relay_certificate_expiry_timestamp_seconds{listener="rtmps"}'] - time.time()
    assert 9 < left_s / 86_400 < 10
    put(second, folder)


async def test_another_admin_token_and_another_key_while_it_runs(start_relay: Start) -> None:
    relay = await start_relay()
    channel = await relay.add_channel("talk")
    before = relay.token
    await relay.run("token", "rotate").done()
    assert relay.token != before
    assert (await relay.channel("talk"))["stream_key"] == channel["stream_key"]
    await relay.run("secret", "rotate").done()
    relay.keys |= {before, relay.token}
    await relay.stop()
    await relay.start()
    assert (await relay.channel("talk"))["stream_key"] == channel["stream_key"]
    entries = (await relay.api("GET", "/audit"))["entries"]
    assert [(entry["action"], entry["via"]) for entry in entries[:2]] == [
        ("encryption key changed", "cli"), ("admin token changed", "cli"),
    ]  # fmt: skip
