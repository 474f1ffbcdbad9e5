"""What every source has in common: one configured place to pull from, what an attempt is given, how it is doing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from relay.config import Settings
from relay.errors import DestinationError, ProtocolError
from relay.hub import Hub, Ticker
from relay.ingest.demux import Demuxer
from relay.ingest.segment import Backfill, Notes
from relay.outbound.dial import TlsContext
from relay.protocol.rtmp.url import RtmpUrl, parse_rtmp_url, split_stream
from relay.secret import Secret
from relay.supervise import AttemptState

SourceState = AttemptState
YIELDED = "yielded"  # outcome of an attempt that gave way to a publisher


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """A source: ``http(s)://…`` (HLS) or ``rtmp(s)://host/app/name``. What is secret in the URL stays out of words.

    ``headers`` go with every request to the URL's own host, and to no other. ``max_kbps``: of the variant that is
    chosen, 0: the best.
    """

    url: Secret
    headers: tuple[tuple[str, Secret], ...] = ()
    max_kbps: int = 0

    @property
    def is_rtmp(self) -> bool:
        return self.url.reveal().startswith(("rtmp://", "rtmps://"))


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is doing. ``last_error``: why it failed, or what it waits for, in words."""

    url: str  # as shown_url gives it
    state: SourceState
    last_error: str = ""
    attempts: int = 0
    bytes_received: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)


class Around(NamedTuple):
    """What all attempts share. ``bytes_received`` counts by channel; ``tls`` is made when it is first needed."""

    hub: Hub
    settings: Settings
    ticker: Ticker
    tls: TlsContext
    bytes_received: Counter[str]
    demuxer: Demuxer
    notes: Notes
    backfill: Backfill


class Telling(NamedTuple):
    """Whom an attempt tells: ``live`` while media flows, ``waiting`` in words when there is nothing to do but wait."""

    live: Callable[[], None]
    waiting: Callable[[str], None]


class Attempt(Protocol):
    """One try at a source, from dialling to its end."""

    async def run(self) -> None:
        """Until something fails (DestinationError). Cancelled when the source is no longer wanted."""

    def leave(self) -> None:
        """The source is not wanted any more, for good: the stream shall end when ``run`` is cancelled."""


def shown_url(url: str) -> str:
    """The URL as people may see it: without user, password and query; of RTMP without the stream's name, too."""
    if url.startswith(("rtmp://", "rtmps://")):
        try:
            app, _ = split_stream(parse_rtmp_url(url))
        except ProtocolError:
            return url.partition("://")[0] + "://"
        return f"{RtmpUrl(app.scheme, app.host, app.port, app.app.partition('?')[0]).tc_url}/********"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    user, query = "********@" if host[1] else "", "?********" if parts.query else ""
    return f"{parts.scheme}://{user}{host[2]}{parts.path}{query}"


def rtmp_source(config: SourceConfig) -> tuple[RtmpUrl, str]:
    """(URL of host and app, stream name) of an RTMP source. Raises DestinationError where it names none."""
    try:
        return split_stream(parse_rtmp_url(config.url.reveal()))
    except ProtocolError as error:
        raise DestinationError(str(error), "config") from error


def taken() -> DestinationError:
    """Why an attempt ends when somebody publishes to the channel with its key."""
    return DestinationError("somebody publishes to the channel with its key; the source goes on afterwards", YIELDED)
