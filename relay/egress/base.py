"""What every door out shares: a destination as configured, what that means on the wire, and how it is doing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """One configured place to push to: ``rtmp(s)://host[:port]/app[/instance]`` and the key apart.

    Without a key, the last part of the URL's path is one: such a URL is never shown whole. ``ensure_audio`` and
    ``on_change`` (of codec or picture size) ``auto``: as the platform needs it.
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
