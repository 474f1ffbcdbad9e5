"""Certificates: the one each TLS listener shows, taken anew when its files change, with no connection dropped."""

import asyncio
import hashlib
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from relay.errors import ConfigError

log = structlog.get_logger("relay.certificates")

EVERY_S = 60.0
SOON_S = 14 * 86_400.0
REMIND_S = 86_400.0


class Certificate:
    """The certificate and key of one listener, in PEM files. ``listener``: rtmps, https or ingest_https.

    ``context`` is the listener's for good; what it shows in a handshake is what was last good in the files. Raises
    ConfigError naming file and settings ``section`` when the files are no use at the start.
    """

    def __init__(self, listener: str, certificate: Path, key: Path | None, section: str) -> None:
        self.listener = listener
        self.problem = ""  # why what the files hold now is not in use
        self.failures = 0  # times something new in the files was no use
        self._certificate, self._key, self._section = certificate, key, section
        self._seen = self._digest()
        self.context, self.expires_at = self._load()
        self._shown = self.context
        self._reminded_at: float | None = None
        # Called in each handshake, with a name or without: connections that are open keep what they began with.
        self.context.sni_callback = self._show

    def look(self, now: float | None = None) -> None:
        """Take what is in the files where that is new and good; else go on as before, and say why.

        ``now`` in unix seconds. Reads files: not for the loop.
        """
        now = time.time() if now is None else now
        seen = self._digest()
        if seen != self._seen:
            self._seen = seen
            self._renew(now)
        left_s = self.expires_at - now
        if left_s < SOON_S and (self._reminded_at is None or now - self._reminded_at >= REMIND_S):
            self._reminded_at = now
            log.warning(
                "a certificate expires soon" if left_s > 0 else "a certificate has expired",
                listener=self.listener,
                expires=_date(self.expires_at),
            )

    def _renew(self, now: float) -> None:
        try:
            context, expires_at = self._load()
            if expires_at <= now:
                raise ConfigError(f"the new certificate in {self._certificate} expired on {_date(expires_at)}")
        except ConfigError as error:
            self.problem = str(error)
            self.failures += 1
            log.error("the new certificate is no use; the one before stays", listener=self.listener, reason=str(error))
            return
        self._shown, self.expires_at = context, expires_at
        self.problem, self._reminded_at = "", None
        log.info("certificate renewed", listener=self.listener, expires=_date(expires_at))

    def _show(self, handshake: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        if handshake.context is not self._shown:
            handshake.context = self._shown

    def _load(self) -> tuple[ssl.SSLContext, float]:
        """A context with what the files hold, and until when that is good. Raises ConfigError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key)
            first = x509.load_pem_x509_certificates(self._certificate.read_bytes())[0]
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(
                f"cannot use the certificate {self._certificate} with the key {self._key or self._certificate}: "
                f"{error}; {self._section}.tls_certificate wants a PEM chain, {self._section}.tls_key its PEM "
                "private key"
            ) from error
        return context, first.not_valid_after_utc.timestamp()

    def _digest(self) -> bytes:
        """Of what the files hold: names may stay, and links lead elsewhere. One that cannot be read is a state, too."""
        digest = hashlib.sha256()
        for path in (self._certificate, self._key):
            if path is not None:
                try:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
                except OSError as error:
                    digest.update(f"{error.errno}".encode())
        return digest.digest()


class Watch:
    """Looks at files every EVERY_S, and when asked to.

    ``found``: the certificates there are once everything listens; ``others`` look at files of their own.
    """

    def __init__(self, found: Callable[[], Sequence[Certificate]], *others: Callable[[], None]) -> None:
        self._found = found
        self._others = others
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def certificates(self) -> Sequence[Certificate]:
        return self._found()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look(self) -> None:
        """Look now."""
        self._asked.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for look in (*(certificate.look for certificate in self._found()), *self._others):
                await asyncio.to_thread(look)
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                continue  # nobody asked: it is time anyway
            self._asked.clear()


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
