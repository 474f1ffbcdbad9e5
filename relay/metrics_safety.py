"""What Prometheus sees of certificates and the audit log."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from relay.audit import AuditLog
from relay.certificates import Watch


class SafetyCollector(Collector):
    """Read at scrape. Label values are the names of listeners: rtmps, https, ingest_https."""

    def __init__(self, certificates: Watch, audit: AuditLog) -> None:
        self._certificates = certificates
        self._audit = audit

    def collect(self) -> Iterator[Metric]:
        expiry = GaugeMetricFamily(
            "relay_certificate_expiry_timestamp_seconds",
            "When the certificate a listener shows expires, in unix seconds",
            labels=["listener"],
        )
        refused = GaugeMetricFamily(
            "relay_certificate_refused",
            "1 while the files hold a certificate that is no use, and the one before is shown",
            labels=["listener"],
        )
        failures = CounterMetricFamily(
            "relay_certificate_reload_failures", "New certificates that were no use", labels=["listener"]
        )
        for certificate in self._certificates.certificates:
            at = [certificate.listener]
            expiry.add_metric(at, certificate.expires_at)
            refused.add_metric(at, bool(certificate.problem))
            failures.add_metric(at, certificate.failures)
        audit = CounterMetricFamily("relay_audit_failures", "Entries of the audit log that the disk did not take")
        audit.add_metric([], self._audit.failures)
        yield from (expiry, refused, failures, audit)
