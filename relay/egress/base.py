"""What every door out shares: a destination as configured, what that means on the wire, and how it is doing."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from relay.egress import hls_address
from relay.egress.platforms import PLATFORMS
from relay.errors import DestinationError, ProtocolError
from relay.protocol.rtmp.url import RtmpUrl, parse_rtmp_url, split_stream
from relay.secret import Secret
from relay.supervise import AttemptState

DestinationState = AttemptState


@dataclass(frozen=True, slots=True)
class HoldConfig:
    """What a destination gets while the publisher is away, for up to ``limit_s`` seconds; then it ends politely.

    ``freeze``: the last picture again, and silence; ``slate``: that file of the slates folder; ``off``: nothing.
    """

    mode: Literal["freeze", "slate", "off"] = "freeze"
    limit_s: float = 120.0
    slate: str = ""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """What a destination's own encoding shall be; 0: as it comes. Never larger than the publisher's picture."""

    height: int = 0
    fps: float = 0.0
    video_kbps: int = 0
    audio_kbps: int = 0
    keyframe_s: float = 0.0


EnsureAudio = Literal["auto", "on", "off"]
OnChange = Literal["auto", "send", "reconnect", "transcode"]
Method = Literal["PUT", "POST"]


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """One configured place to push to: ``rtmp(s)://host[:port]/app[/instance]`` and the key apart.

    Without a key, the last part of the URL's path is one: such a URL is never shown whole. ``ensure_audio`` and
    ``on_change`` (of codec or picture size) ``auto``: as the platform needs it. ``kind`` hls: the URL is one that
    ``hls_address`` knows; ``method``, and ``backup``, the URL of a second place for the same files, are for it.
    """

    name: str
    url: str
    key: Secret = field(default_factory=lambda: Secret(""))
    platform: str = "custom"
    kind: str = "rtmp"
    enabled: bool = True
    hold: HoldConfig = HoldConfig()
    fit: FitConfig | None = None
    ensure_audio: EnsureAudio = "auto"
    on_change: OnChange = "auto"
    method: Method = "PUT"
    backup: str = ""

    @property
    def needs_audio(self) -> bool:
        """Whether silence is sent where the publisher has no sound."""
        return self.ensure_audio == "on" or (self.ensure_audio == "auto" and PLATFORMS[self.platform].needs_audio)

    @property
    def change(self) -> str:
        """``send``, ``reconnect`` or ``transcode``: what becomes of a change of codec or picture size."""
        return PLATFORMS[self.platform].on_change if self.on_change == "auto" else self.on_change


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
    try:
        return split_stream(url)
    except ProtocolError as error:
        raise DestinationError("there is no stream key, neither apart nor in the URL", "config") from error


def shown_url(config: DestinationConfig) -> str:
    """The URL as people may see it: host and app; neither key nor query string, which often holds a token."""
    if config.kind == "hls":
        return hls_address.shown(config.url)
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


class Kept(Protocol):
    """What an attempt leaves to the next one."""

    @property
    def backlog_ms(self) -> int:
        """Media time waiting in it."""

    @property
    def dropped(self) -> int:
        """Packets lost from it so far."""

    def clear(self) -> None:
        """Let go of all media: no attempt follows soon."""


class DestinationTotals:
    """Counters of one destination across all its attempts; the attempts increment, status reads.

    ``kept``: of a kind of destination whose attempts go on where the last one was.
    """

    __slots__ = ("bytes_sent", "dropped", "kept")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.dropped = 0
        self.kept: Kept | None = None


class Owner(NamedTuple):
    """Whom an attempt tells how it is doing, and asks.

    ``live()``: the platform takes media. ``troubled(error)``: it does not for now, the attempt goes on trying.
    ``goes_on()``: whether another attempt will follow this one at once.
    """

    live: Callable[[], None]
    troubled: Callable[[DestinationError], None]
    goes_on: Callable[[], bool]


class Attempt(Protocol):
    """One try at a destination, from dialling to its end."""

    @property
    def backlog_ms(self) -> int:
        """Media time waiting, in ms; 0 where ``Kept`` has it."""

    @property
    def dropped(self) -> int:
        """Packets dropped that the totals do not know of yet."""

    @property
    def unsent(self) -> int:
        """Bytes counted as sent that still wait in this process."""

    async def run(self) -> None:
        """Send until the stream ends (returns) or something fails (DestinationError)."""

    def say_goodbye(self) -> bool:
        """End politely, within seconds. False: there is nothing to end, ``run`` may be cancelled."""

    def finish(self) -> bool:
        """As ``say_goodbye``, after what waits: for a stream that is over."""
