"""Steps: how far apart a stream's frames are, by its last few, and how long its parts are for that."""

import math
from collections import deque

PART_MS = 400
STEPS = 12


class Steps:
    """``mean_ms``: from frame to frame, the mean of the last few but for those out of the way; 0 before the first.

    ``part_ms``: as many frames as fit into PART_MS; a part is at an end from ``least_ms`` on, half a frame before.
    """

    __slots__ = ("_last", "least_ms", "mean_ms", "part_ms")

    def __init__(self) -> None:
        self.mean_ms = 0.0
        self.part_ms = self.least_ms = float(PART_MS)
        self._last: deque[int] = deque(maxlen=STEPS)

    def note(self, step_ms: int) -> None:
        """One more step, in ms, above 0."""
        last = self._last
        is_as_before = len(last) == STEPS and last[0] == step_ms  # the one that it takes the place of
        last.append(step_ms)
        if not is_as_before:
            middle = sorted(last)[len(last) // 4 : -(len(last) // 4) or None]
            self.mean_ms = mean_ms = sum(middle) / len(middle)
            self.part_ms = max(1, math.floor(PART_MS / mean_ms + 0.05)) * mean_ms
            self.least_ms = self.part_ms - mean_ms / 2
