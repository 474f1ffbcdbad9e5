"""What Prometheus sees of certificates and the audit log: when each expires, which is no use, what was not written."""

import asyncio
import shutil
from pathlib import Path

from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from relay.app import App
from tests.support.app import running_app
from tests.support.tls import make_certificates


def samples(app: App) -> dict[tuple[str, str], float]:
    text = app.web._metrics()[0].decode()
    return {
        (sample.name, sample.labels.get("listener", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("relay_certificate_", "relay_audit_"))
    }


async def test_each_listener_tells_of_its_certificate(tmp_path: Path) -> None:
    made, other = make_certificates(tmp_path / "one"), make_certificates(tmp_path / "other")
    until = x509.load_pem_x509_certificate(made.certificate.read_bytes()).not_valid_after_utc.timestamp()
    tls = {"tls_certificate": made.certificate, "tls_key": made.key}
    async with running_app(
        tmp_path / "data",
        rtmp={"listen": "127.0.0.1:0", "tls_listen": "127.0.0.1:0", **tls},
        ingest_http={"listen": "127.0.0.1:0", **tls},
        http={"listen": "127.0.0.1:0", **tls},
    ) as app:
        found = samples(app)
        for listener in ("rtmps", "ingest_https", "https"):
            assert found["relay_certificate_expiry_timestamp_seconds", listener] == until
            assert found["relay_certificate_refused", listener] == 0
            assert found["relay_certificate_reload_failures_total", listener] == 0
        assert found["relay_audit_failures_total", ""] == 0
        shutil.copy(other.key, made.key)
        app.certificates.look()
        async with asyncio.timeout(30):
            while not all(certificate.problem for certificate in app.certificates.certificates):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        found = samples(app)
        assert {name[1] for name, value in found.items() if name[0] == "relay_certificate_refused" and value} == {
            "rtmps", "ingest_https", "https",
        }  # fmt: skip
        assert found["relay_certificate_reload_failures_total", "rtmps"] == 1
        assert app.problems() == [], "the one before is good still"
        app.audit.path.mkdir()
        await app.audit.note("anna", "x")
        assert samples(app)["relay_audit_failures_total", ""] == 1


async def test_without_tls_there_is_no_certificate(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        assert {name for name, _ in samples(app)} == {"relay_audit_failures_total"}
