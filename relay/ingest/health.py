"""Link health: what the server can tell of a publisher's link, and the bitrate it would bear."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

SAMPLES = 61  # one a second: a minute
LAGGING_S = 1.0
LEAST_KBPS, STEP_KBPS = 150, 50
CAUTION = 0.75  # of what came through when the link was full


@dataclass(frozen=True, slots=True)
class Health:
    """A link now. ``kbps_10s``/``kbps_60s``: bits that arrived in the last 10 and 60 s, in kbit/s. ``lag_s``: how far
    media arrives behind its own clock. ``stalls``: in the last minute. ``suggested_kbps``: for the encoder's settings;
    0 while there is too little to go by."""

    quality: Literal["good", "fair", "poor", "unknown"]
    kbps_10s: int
    kbps_60s: int
    lag_s: float
    stalls: int
    suggested_kbps: int


UNKNOWN = Health("unknown", 0, 0, 0.0, 0, 0)


class LinkHealth:
    """Fed once a second while a publisher holds a channel; asked whenever somebody looks."""

    __slots__ = ("_bytes", "_lags", "_stalls")

    def __init__(self) -> None:
        self._bytes: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._lags: deque[float] = deque(maxlen=SAMPLES)
        self._stalls: deque[float] = deque(maxlen=SAMPLES)

    def sample(self, now: float, received: int, lag_s: float) -> None:
        """``received``: bytes from this channel's publishers so far; ``now`` in monotonic seconds."""
        self._bytes.append((now, received))
        self._lags.append(lag_s)

    def stalled(self, now: float) -> None:
        """Media stopped although the publisher is, or should be, there."""
        self._stalls.append(now)

    def look(self, now: float) -> Health:
        """The link as it is at ``now``."""
        if len(self._bytes) < 2:
            return UNKNOWN
        stalls = sum(at > now - 60 for at in self._stalls)
        recent = list(self._lags)[-10:]
        lag_s = recent[-1]
        kbps, minute = self._kbps(now, 10), self._kbps(now, 60)
        is_lagging = min(recent) > LAGGING_S
        if is_lagging or stalls > 1:
            quality: Literal["good", "fair", "poor"] = "poor"
        elif stalls or max(recent) > LAGGING_S:
            quality = "fair"
        else:
            quality = "good"
        return Health(quality, kbps, minute, lag_s, stalls, self._suggested(quality, kbps, minute))

    def _suggested(self, quality: str, kbps: int, minute: int) -> int:
        if len(self._bytes) < 10:
            return 0
        if not kbps:
            return 0  # nothing comes: what would fit nobody knows
        wanted = float(max(kbps, minute)) if quality == "good" else CAUTION * kbps
        return max(LEAST_KBPS, round(wanted / STEP_KBPS) * STEP_KBPS)

    def _kbps(self, now: float, seconds: int) -> int:
        first_at, first = next((item for item in self._bytes if item[0] >= now - seconds - 0.5), self._bytes[-1])
        last_at, last = self._bytes[-1]
        return round((last - first) * 8 / 1000 / (last_at - first_at)) if last_at > first_at else 0
