"""Fetching for HLS sources: bounded in bytes and time, by the outbound policy, redirects counted and checked."""

import asyncio
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple

import aiohttp
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from yarl import URL

from relay.config import Settings
from relay.errors import DestinationError, DestinationRejectedError, ProtocolError
from relay.ingest.source import SourceConfig
from relay.outbound.dial import TlsContext
from relay.outbound.http import explain, http_session, http_url
from relay.protocol.m3u8 import resolve
from relay.protocol.m3u8_lines import ByteRange

KEY_BYTES = 16
SILENCE_S = 5.0
CONNECTIONS = 4
_BLOCK = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED = (401, 403)
_PLAIN = re.compile(r"[\x21-\x7e]+")


class Fetched(NamedTuple):
    """An answer's body, and what it was validated by: for asking again. ``url``: where it came from in the end."""

    data: bytes
    url: str
    validators: Mapping[str, str]


class GoneError(DestinationError):
    """404 or 410: what was asked for is not there (any more)."""

    outcome = "not_found"


class Fetcher:
    """The client of one attempt: an asynchronous context manager. ``count`` is told of each block's bytes."""

    def __init__(self, config: SourceConfig, settings: Settings, tls: TlsContext, count: Callable[[int], None]) -> None:
        self._origin = http_url(config.url.reveal()).origin()
        self._headers = {name: value.reveal() for name, value in config.headers}
        self._settings = settings
        self._tls = tls
        self._count = count
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Fetcher":
        self._session = http_session(self._settings, await self._tls(), connections=CONNECTIONS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(
        self,
        url: str,
        most_bytes: int,
        within_s: float,
        *,
        byte_range: ByteRange | None = None,
        validators: Mapping[str, str] | None = None,
        silence_s: float = SILENCE_S,
    ) -> Fetched | None:
        """What is at ``url``, of at most ``most_bytes``; None where it is what ``validators`` came with.

        ``within_s`` for all of it, ``silence_s`` for each wait for more of it.

        Raises DestinationError: GoneError, DestinationRejectedError where a credential is wanted, and others whose
        words never hold more of the URL than its host.
        """
        first = where = _where(url)
        if byte_range is not None and byte_range.length > most_bytes:
            raise DestinationError(f"{where} offers a range of more than {most_bytes} bytes", "too_large")
        try:
            async with asyncio.timeout(within_s):
                for _ in range(self._settings.limits.hls_redirects + 1):
                    found = await self._once(url, most_bytes, byte_range, validators or {}, silence_s)
                    if not isinstance(found, str):
                        return found
                    url = found
                    where = _where(url)
        except DestinationError:
            raise
        except TimeoutError:
            raise DestinationError(
                f"{where} did not answer, or not to the end, within {within_s:g} s", "timeout"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise explain(error, where) from error
        raise DestinationError(
            f"{first} answers with a redirect; enter the URL it leads to, or raise limits.hls_redirects", "redirect"
        )

    async def _once(
        self, url: str, most_bytes: int, byte_range: ByteRange | None, validators: Mapping[str, str], silence_s: float
    ) -> Fetched | str | None:
        """One request; text is the URL to go on with."""
        assert self._session is not None
        where, parsed = _where(url), http_url(url)
        if _PLAIN.fullmatch(url):
            parsed = URL(url, encoded=True)  # exactly as written: it may be signed
        headers = dict(validators)
        if parsed.origin() == self._origin:
            headers |= self._headers
        if byte_range is not None:
            headers["Range"] = f"bytes={byte_range.offset}-{byte_range.offset + byte_range.length - 1}"
        patience = aiohttp.ClientTimeout(total=None, connect=self._settings.limits.dial_s * 2, sock_read=silence_s)
        async with self._session.get(parsed, headers=headers, allow_redirects=False, timeout=patience) as answer:
            if answer.status == 304 and validators:
                return None
            if answer.status in _REDIRECTS:
                try:
                    return resolve(url, answer.headers.get("Location", ""))
                except ProtocolError:
                    raise DestinationError(f"{where} redirects to something that is not fetched", "redirect") from None
            self._check_status(answer.status, where, byte_range)
            coding = answer.headers.get("Content-Encoding", "identity")
            if coding.lower() != "identity":
                raise DestinationError(f"{where} sends compressed answers, which are refused", "compressed")
            data = await self._body(answer, where, most_bytes, byte_range)
            kept = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
            fresh = {kept[name]: answer.headers[name] for name in kept if name in answer.headers}
            return Fetched(data, url, fresh)

    @staticmethod
    def _check_status(status: int, where: str, byte_range: ByteRange | None) -> None:
        if status == 206 and byte_range is not None:
            return
        if status == 200:
            return
        if status in (404, 410):
            raise GoneError(f"{where} answers {status}: it is not there")
        if status in _REFUSED:
            raise DestinationRejectedError(f"{where} answers {status}; check the URL's token, or the source's headers")
        raise DestinationError(f"{where} answers {status}", "status")

    async def _body(
        self, answer: aiohttp.ClientResponse, where: str, most_bytes: int, byte_range: ByteRange | None
    ) -> bytes:
        skip = byte_range.offset if byte_range is not None and answer.status == 200 else 0
        wanted = byte_range.length if byte_range is not None else None
        # A server that knows no ranges sends all of it: what lies before the range costs as much as the range.
        most = most_bytes if wanted is None else skip + wanted
        if most > most_bytes or (wanted is None and (answer.content_length or 0) > most_bytes):
            raise DestinationError(f"{where} sends more than {most_bytes} bytes", "too_large")
        data = bytearray()
        async for block in answer.content.iter_chunked(_BLOCK):
            self._count(len(block))
            data += block
            if len(data) > most:
                if wanted is None or answer.status == 206:
                    raise DestinationError(f"{where} sends more than {most} bytes", "too_large")
                break
        if wanted is None:
            return bytes(data)
        part = bytes(data[skip : skip + wanted])
        if len(part) != wanted:
            raise DestinationError(f"{where} sends less than the byte range asked for", "protocol")
        return part


def decrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    """``data`` decrypted by AES-128 in CBC mode, its padding (PKCS7) removed. Raises ProtocolError."""
    if len(key) != KEY_BYTES:
        raise ProtocolError(f"the key has {len(key)} bytes instead of {KEY_BYTES}")
    try:
        worker = Cipher(AES128(key), CBC(iv)).decryptor()
        plain = worker.update(data) + worker.finalize()
        padding = PKCS7(128).unpadder()
        return padding.update(plain) + padding.finalize()
    except ValueError:
        raise ProtocolError("the segment cannot be decrypted with its key") from None


def _where(url: str) -> str:
    """Host and port of ``url``: all of it that may be told."""
    try:
        parsed = URL(url)
        return f"{parsed.host}:{parsed.port}"
    except ValueError:
        return "the source"
