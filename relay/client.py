"""Client: the command line's way to the API of a running relay."""

import contextlib
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from relay import __version__
from relay.config import Settings, split_address
from relay.errors import InvalidError, RelayError

TIMEOUT_S = 30
UPLOAD_TIMEOUT_S = 120  # what is uploaded is tried before it is answered
RESUMES, RESUME_S, RESUME_MOST_S = 10, 1.0, 30.0  # tries in a row, and the waits between them
DOWNLOAD_TIMEOUT_S = 120  # the relay may have to wait for its store
BLOCK = 256 * 1024
AGENT = f"relay-cli/{__version__}"  # the audit log tells it from other programs


class Client:
    """Calls the relay at ``server`` (else the address in the settings), with ``token`` (else the data directory's).

    Raises InvalidError when ``server`` is no URL.
    """

    def __init__(self, settings: Settings, server: str = "", token: str = "") -> None:
        self._server = (server or _local(settings)).rstrip("/")
        parts = urlsplit(self._server)
        if parts.scheme not in ("http", "https") or not parts.netloc or set("?#") & set(self._server):
            raise InvalidError(f"{server} is not a server; write http://HOST:PORT, for example http://127.0.0.1:8080")
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if not server:  # the relay on this machine is reached without a proxy, and shows its own certificate
            handlers.append(urllib.request.ProxyHandler({}))
            if settings.http.tls_certificate is not None:
                handlers.append(urllib.request.HTTPSHandler(context=_pinned(settings.http.tls_certificate)))
        self._opener = urllib.request.build_opener(*handlers)
        self._token = token
        self._token_file = settings.data_dir / "admin.token"

    def call(
        self, method: str, *path: str, body: dict[str, Any] | None = None, content: bytes | None = None, **query: str
    ) -> Any:
        """The JSON answer to ``method`` on the parts of ``path``; empty values of ``query`` are left out.

        ``body`` goes as JSON, ``content`` as it is.

        Raises RelayError with the relay's own words, or with what to do when it is not there.
        """
        request = self._request(method, path, query, body, content)
        patience_s = TIMEOUT_S if content is None else UPLOAD_TIMEOUT_S
        with self._reaching(), self._opener.open(request, timeout=patience_s) as answer:
            found = answer.read()
        try:
            return json.loads(found) if found else None
        except ValueError:
            raise self._stranger() from None

    def download(self, *path: str, file: BinaryIO, told: Callable[[int, int], None], query: Mapping[str, str]) -> str:
        """Copy what is at ``path`` into ``file``; ``told`` hears (bytes so far, bytes in all).

        Where it breaks off it goes on from there, again and again, until RESUMES times in a row nothing more came; from
        the beginning where the file is another by then. Returns how long the media says it is, in seconds. Raises
        RelayError as ``call``, or when it breaks off for good; OSError when ``file`` cannot be written.
        """
        request = self._request("GET", path, query)
        with self._reaching():
            answer = self._opener.open(request, timeout=DOWNLOAD_TIMEOUT_S)
        so_far, failures = 0, 0
        while True:
            with answer:
                size = self._size(answer, so_far)
                told(so_far, size)
                reason, before = "", so_far
                while so_far < size and not reason:
                    try:
                        data = answer.read(min(BLOCK, size - so_far))
                    except (OSError, http.client.HTTPException) as error:
                        reason = str(error)
                    else:
                        reason = "" if data else "the relay closed the connection; its log says why"
                        file.write(data)
                        so_far += len(data)
                        told(so_far, size)
            if not reason:
                return str(answer.headers.get("X-Export-Duration", ""))
            failures = 1 if so_far > before else failures + 1
            tag = answer.headers.get("ETag", "")
            answer = self._reopened(request, so_far, tag, failures, _broken_off(so_far, size, reason))
            if answer.status != HTTPStatus.PARTIAL_CONTENT:
                so_far = 0
                file.seek(0)
                file.truncate()

    def _reopened(
        self, request: urllib.request.Request, so_far: int, tag: str, failures: int, words: str
    ) -> http.client.HTTPResponse:
        """What answers once the rest is asked for. Raises RelayError with ``words`` when it was asked for too often."""
        request.add_header("Range", f"bytes={so_far}-")
        request.add_header("If-Range", tag)
        for failure in range(failures, RESUMES + 1):
            if not tag or failure == RESUMES:
                break
            time.sleep(min(RESUME_S * 2 ** (failure - 1), RESUME_MOST_S))
            try:
                answer: http.client.HTTPResponse = self._opener.open(request, timeout=DOWNLOAD_TIMEOUT_S)
            except urllib.error.HTTPError as error:
                with error:
                    raise RelayError(_words(error)) from None
            except (OSError, ValueError, http.client.HTTPException):
                continue
            return answer
        raise RelayError(words)

    def _size(self, answer: http.client.HTTPResponse, so_far: int) -> int:
        """Of the whole file that ``answer`` is, or that it is the rest of."""
        if answer.headers.get_content_type() != "video/mp4" or "Content-Length" not in answer.headers:
            raise self._stranger()
        return so_far + int(answer.headers["Content-Length"])

    def _request(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, str],
        body: dict[str, Any] | None = None,
        content: bytes | None = None,
    ) -> urllib.request.Request:
        token = self._token or self._read_token()
        address = "/".join([f"{self._server}/api/v1", *(quote(part, safe="") for part in path)])
        asked = urlencode({name: value for name, value in query.items() if value})
        return urllib.request.Request(
            f"{address}?{asked}" if asked else address,
            method=method,
            data=content if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json" if content is None else "application/octet-stream",
                "User-Agent": AGENT,
            },
        )

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Errors of a call, in words."""
        try:
            yield
        except urllib.error.HTTPError as error:
            with error:
                raise RelayError(_words(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            reason = " ".join(str(getattr(cause, "strerror", None) or cause).split())
            raise RelayError(
                f"no relay answers at {self._server} ({reason}); start it with scripts/start, or name it with --server"
            ) from None

    def _stranger(self) -> RelayError:
        return RelayError(f"what answers at {self._server} is not a relay; name it with --server")

    def _read_token(self) -> str:
        try:
            return self._token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise RelayError(
                f"no admin token at {self._token_file}; run this where the relay runs (RELAY_DATA_DIR names its data "
                "directory), or give --token"
            ) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the server that was named, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _local(settings: Settings) -> str:
    """The URL of the relay that runs with these settings, seen from its own machine."""
    host, port = split_address(settings.http.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "http" if settings.http.tls_certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _pinned(certificate: Path) -> ssl.SSLContext:
    """Trusts exactly this certificate, under whatever name. Raises RelayError when it cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(certificate)
    except (OSError, ssl.SSLError) as error:
        raise RelayError(f"cannot read the certificate {certificate}: {error}") from None
    return context


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the server answered {error.code} {error.reason}; is it a relay?"


def _broken_off(so_far: int, size: int, reason: str) -> str:
    return f"the download broke off after {so_far} of {size} bytes ({reason}); run it again"
