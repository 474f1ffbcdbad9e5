"""What every door out shares: a destination as configured, what that means on the wire, and how it is doing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.errors import DestinationError, ProtocolError
from relay.protocol.rtmp.url import RtmpUrl, parse_rtmp_url
from relay.secret import Secret
from relay.supervise import AttemptState

DestinationState = AttemptState


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """One configured place to push to: ``rtmp(s)://host[:port]/app[/instance]`` and the key apart.

    Without a key, the last part of the URL's path is one: such a URL is never shown whole.
    """

    name: str
    url: str
    key: Secret = field(default_factory=lambda: Secret(""))
    platform: str = "custom"
    kind: str = "rtmp"
    enabled: bool = True


def publish_address(config: DestinationConfig) -> tuple[RtmpUrl, str]:
    """(URL of host and app, stream name) of a destination. Query strings stay where they were written.

    Raises DestinationError for a URL that cannot be dialled.
    """
    try:
        url = parse_rtmp_url(config.url)
    except ProtocolError as error:
        raise DestinationError(str(error), "config") from error
    key = config.key.reveal()
    if key:
        return url, key
    path, mark, query = url.app.partition("?")
    app, _, name = path.rpartition("/")
    if not app:
        raise DestinationError("there is no stream key, neither apart nor in the URL", "config")
    return RtmpUrl(url.scheme, url.host, url.port, app), f"{name}{mark}{query}"


def shown_url(config: DestinationConfig) -> str:
    """The URL as people may see it: host and app; neither key nor query string, which often holds a token."""
    try:
        url, _ = publish_address(config)
    except DestinationError:
        scheme, _, rest = config.url.partition("://")
        host = re.split(r"[/?#]", rest)[0]
        return f"{scheme}://{host.rpartition('@')[2]}" if rest else ""
    return RtmpUrl(url.scheme, url.host, url.port, url.app.partition("?")[0]).tc_url


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """How a destination is doing. ``backlog_s``: media time waiting, in seconds; totals since it was configured."""

    name: str
    platform: str
    url: str  # as shown_url gives it
    state: DestinationState
    last_error: str = ""
    attempts: int = 0
    bytes_sent: int = 0
    backlog_s: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    dropped_packets: Mapping[str, int] = field(default_factory=dict)


class DestinationTotals:
    """Counters of one destination across all its attempts; the attempts increment, status reads."""

    __slots__ = ("bytes_sent", "dropped")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.dropped = 0
