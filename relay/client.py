"""Client: the command line's way to the API of a running relay."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from relay.config import Settings, split_address
from relay.errors import InvalidError, RelayError

TIMEOUT_S = 30


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

    def call(self, method: str, *path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        """The JSON answer to ``method`` on the parts of ``path``; empty values of ``query`` are left out.

        Raises RelayError with the relay's own words, or with what to do when it is not there.
        """
        token = self._token or self._read_token()
        address = "/".join([f"{self._server}/api/v1", *(quote(part, safe="") for part in path)])
        asked = urlencode({name: value for name, value in query.items() if value})
        request = urllib.request.Request(
            f"{address}?{asked}" if asked else address,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise RelayError(_words(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())
            raise RelayError(
                f"no relay answers at {self._server} ({reason}); start it with scripts/start, or name it with --server"
            ) from None
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise RelayError(f"what answers at {self._server} is not a relay; name it with --server") from None

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
