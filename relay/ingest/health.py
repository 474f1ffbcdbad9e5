"""Link health: what the server can tell of a publisher's link, and the bitrate it would bear."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

SAMPLES = 61  # one a second: a minute
LAGGING_S = 1.0
LEAST_KBPS, STEP_KBPS = 150, 50
SETTLED_S = 10  # a link that has just returned is not judged by the time it was away
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

    def words(self) -> str:
        """The same for people, in one line."""
        if self.quality == "unknown":
            return "not known yet"
        stalls = {0: "no stalls", 1: "1 stall"}.get(self.stalls, f"{self.stalls} stalls")
        told = f"{self.quality}: {self.kbps_10s} kbit/s, {self.lag_s:.1f} s late, {stalls} in the last minute"
        return f"{told}; the encoder may be set to {self.suggested_kbps} kbit/s" if self.suggested_kbps else told


UNKNOWN = Health("unknown", 0, 0, 0.0, 0, 0)


class LinkHealth:
    """Fed once a second while a publisher holds a channel; asked whenever somebody looks."""

    __slots__ = ("_away_since", "_bytes", "_lags", "_returned_at", "_stalls")

    def __init__(self) -> None:
        self._bytes: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._lags: deque[float] = deque(maxlen=SAMPLES)
        self._stalls: deque[float] = deque(maxlen=SAMPLES)
        self._away_since: float | None = None
        self._returned_at = float("-inf")

    def sample(self, now: float, received: int, lag_s: float) -> None:
        """``received``: bytes from this channel's publishers so far; ``now`` in monotonic seconds."""
        self._bytes.append((now, received))
        self._lags.append(lag_s)

    def stalled(self, now: float) -> None:
        """Media stopped although the publisher is, or should be, there."""
        self._stalls.append(now)
        self._away_since = now

    def returned(self, now: float) -> float:
        """Media is there again; for how many seconds it was not."""
        away_s = 0.0 if self._away_since is None else now - self._away_since
        self._away_since, self._returned_at = None, now
        return away_s

    def look(self, now: float) -> Health:
        """The link as it is at ``now``."""
        if len(self._bytes) < 2:
            return UNKNOWN
        stalls = sum(at > now - 60 for at in self._stalls)
        recent = list(self._lags)[-10:]
        lag_s = recent[-1]
        kbps, minute = self._kbps(now, 10), self._kbps(now, 60)
        is_lagging = min(recent) > LAGGING_S
        if is_lagging or stalls > 1 or self._away_since is not None:
            quality: Literal["good", "fair", "poor"] = "poor"
        elif stalls or max(recent) > LAGGING_S:
            quality = "fair"
        else:
            quality = "good"
        return Health(quality, kbps, minute, lag_s, stalls, self._suggested(quality, kbps, minute, now))

    def _suggested(self, quality: str, kbps: int, minute: int, now: float) -> int:
        is_settled = self._away_since is None and now - self._returned_at >= SETTLED_S
        if len(self._bytes) < 10 or not is_settled:
            return 0
        if not kbps:
            return 0  # nothing comes: what would fit nobody knows
        wanted = float(max(kbps, minute)) if quality == "good" else CAUTION * kbps
        return max(LEAST_KBPS, round(wanted / STEP_KBPS) * STEP_KBPS)

    def _kbps(self, now: float, seconds: int) -> int:
        first_at, first = next((item for item in self._bytes if item[0] >= now - seconds - 0.5), self._bytes[-1])
        last_at, last = self._bytes[-1]
        return round((last - first) * 8 / 1000 / (last_at - first_at)) if last_at > first_at else 0
