"""RTMP addresses: rtmp(s) URLs as people type them, and the app and stream names encoders make of them."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from relay.errors import ProtocolError

MAX_BYTES = 2048
MAX_PARAMETERS = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DEFAULT_PORTS = {"rtmp": 1935, "rtmps": 443}
_INSTANCES = frozenset({"_definst_"})


@dataclass(frozen=True, slots=True)
class RtmpUrl:
    """``scheme://host:port/app?query``; the path's last part is not told apart from the app here."""

    scheme: str
    host: str
    port: int
    app: str  # path and query as they are sent in connect

    @property
    def tc_url(self) -> str:
        """The tcUrl of connect: the default port left out, as encoders do."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}/{self.app}"

    @property
    def is_tls(self) -> bool:
        return self.scheme == "rtmps"


@dataclass(frozen=True, slots=True)
class PublishAddress:
    """What a publisher or player asked for: the app, the stream name, the key it showed, the other parameters."""

    app: str
    name: str
    key: str
    query: dict[str, str] = field(default_factory=dict)


def parse_rtmp_url(text: str) -> RtmpUrl:
    """Read an ``rtmp://`` or ``rtmps://`` URL. Raises ProtocolError that says what is missing."""
    text = text.strip()
    _check(text, "URL")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ProtocolError(f"not a URL: {error}") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ProtocolError("the URL must begin with rtmp:// or rtmps://")
    if not parts.hostname:
        raise ProtocolError("the URL names no host; write rtmp://HOST/APP")
    if parts.username or parts.password:
        raise ProtocolError("the URL must not carry a user name or password")
    app = parts.path.strip("/")
    if parts.query:
        app += "?" + parts.query
    return RtmpUrl(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], app)


def split_stream(url: RtmpUrl) -> tuple[RtmpUrl, str]:
    """(URL of host and app, stream name) of a URL whose path's last part is the stream name; a query stays with it.

    Raises ProtocolError where there is no such part.
    """
    path, mark, query = url.app.partition("?")
    app, _, name = path.rpartition("/")
    if not app:
        raise ProtocolError("the URL names no stream; write rtmp://HOST/APP/NAME")
    return RtmpUrl(url.scheme, url.host, url.port, app), f"{name}{mark}{query}"


def split_publish(app: str, name: str) -> PublishAddress:
    """App, stream name, key and parameters, out of what connect and publish (or play) carried.

    The key is ``?key=`` wherever it stands, else the stream name, else what follows the app's first part. Leading
    and trailing slashes, app instances and query strings do not matter. Raises ProtocolError on control
    characters, over 2 KiB, or more than MAX_PARAMETERS parameters.
    """
    _check(app, "app")
    _check(name, "stream name")
    app_path, _, app_query = app.partition("?")
    path, _, query = name.partition("?")
    parameters = _parameters(app_query) | _parameters(query)
    app_parts = [unquote(part) for part in app_path.split("/") if part and part not in _INSTANCES]
    name_parts = [unquote(part) for part in path.split("/") if part and part not in _INSTANCES]
    if name_parts and app_parts and len(name_parts) > 1 and name_parts[0] == app_parts[0]:
        name_parts = name_parts[1:]  # some encoders repeat the app in front of the name
    if not name_parts:
        name_parts = app_parts[1:]
    stream = name_parts[-1] if name_parts else ""
    key = parameters.pop("key", "") or stream
    return PublishAddress(app_parts[0] if app_parts else "", stream, key, parameters)


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, separator="&"))
    except ValueError as error:
        raise ProtocolError(f"the URL has more than {MAX_PARAMETERS} parameters") from error


def _check(text: str, what: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ProtocolError(f"the {what} is longer than {MAX_BYTES} bytes")
    if _CONTROL.search(text):
        raise ProtocolError(f"the {what} has control characters in it")
