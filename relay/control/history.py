"""History: each live channel's bitrate, frame rate and lag over the last ten minutes, for whoever looks in later."""

import asyncio
import time
from collections import deque
from typing import NamedTuple

from relay.hub import Hub, Stream, StreamState

EVERY_S = 2.0
KEPT = 300  # ten minutes


class Sample(NamedTuple):
    """One look. ``at``: unix seconds; ``kbps``: media in kbit/s; ``fps``: pictures a second; ``lag_s``: how late."""

    at: float
    kbps: int
    fps: float
    lag_s: float


class _Line:
    __slots__ = ("at", "media_bytes", "pictures", "samples")

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.at = self.media_bytes = self.pictures = 0.0


class History:
    """Looks at the hub's counters every two seconds, while there is a loop to do so: ``start`` and ``close``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lines: dict[str, _Line] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._turn)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def samples(self, channel: str) -> list[Sample]:
        """The oldest first; times without a stream are missing."""
        line = self._lines.get(channel)
        return [] if line is None else list(line.samples)

    def last(self, channel: str) -> Sample | None:
        line = self._lines.get(channel)
        return line.samples[-1] if line is not None and line.samples else None

    def _turn(self) -> None:
        self.start()
        self.look(time.time(), time.monotonic())

    def look(self, at: float, now: float) -> None:
        """Take a sample of each stream; ``now``: monotonic seconds. Lines older than ten minutes are forgotten."""
        for name, stream in self._hub.streams.items():
            if stream.state is not StreamState.OFFLINE:
                _take(self._lines.setdefault(name, _Line()), stream, at, now)
            elif name in self._lines:
                self._lines[name].at = 0.0
        oldest = at - EVERY_S * KEPT
        for name in [name for name, line in self._lines.items() if line.samples and line.samples[-1].at < oldest]:
            del self._lines[name]


def _take(line: _Line, stream: Stream, at: float, now: float) -> None:
    """The difference to the look before; the first look only remembers where the counters stood."""
    media_bytes, pictures = stream.stats.media_bytes, stream.stats.video_packets
    if line.at and now > line.at and media_bytes >= line.media_bytes:
        seconds = now - line.at
        line.samples.append(
            Sample(
                round(at, 1),
                round((media_bytes - line.media_bytes) * 8 / 1000 / seconds),
                round((pictures - line.pictures) / seconds, 1),
                round(max(0.0, stream.stats.arrival_lag_ms) / 1000, 2),
            )
        )
    line.at, line.media_bytes, line.pictures = now, media_bytes, pictures
