"""What every door out shares: a destination as configured, and as it is doing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.secret import Secret
from relay.supervise import AttemptState

DestinationState = AttemptState


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """One configured place to push to. ``url`` names host and app, never the key."""

    name: str
    url: str
    key: Secret = field(default_factory=lambda: Secret(""))
    platform: str = "custom"
    kind: str = "rtmp"
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """How a destination is doing. ``backlog_s``: media time waiting, in seconds; totals since it was configured."""

    name: str
    platform: str
    url: str
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
