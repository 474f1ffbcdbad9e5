"""Client: the command line's way to the API of a running relay."""

import json
import urllib.error
import urllib.request
from typing import Any

from relay.config import Settings, split_address
from relay.errors import RelayError

TIMEOUT_S = 30


class Client:
    """Calls the relay at ``server`` (else the address in the settings), with ``token`` (else the data directory's)."""

    def __init__(self, settings: Settings, server: str = "", token: str = "") -> None:
        host, port = split_address(settings.http.listen)
        local = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self._server = (server or f"http://{local}:{port}").rstrip("/")
        self._token = token
        self._token_file = settings.data_dir / "admin.token"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer. Raises RelayError with the relay's own words, or with what to do when it is not there."""
        token = self._token or self._read_token()
        request = urllib.request.Request(
            f"{self._server}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise RelayError(_words(error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise RelayError(
                f"no relay answers at {self._server} ({reason}); start it with scripts/start, or name it with --server"
            ) from None
        return json.loads(content) if content else None

    def _read_token(self) -> str:
        try:
            return self._token_file.read_text("utf-8").strip()
        except OSError:
            raise RelayError(
                f"no admin token at {self._token_file}; run this where the relay runs (RELAY_DATA_DIR names its data "
                "directory), or give --token"
            ) from None


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the server answered {error.code} {error.reason}"
