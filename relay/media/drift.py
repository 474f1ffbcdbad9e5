"""Drift: whether a publisher's audio clock runs away from its video clock, seen from when both arrive."""

SAMPLE_MS = 320  # one sample each, and at most one millisecond of correction
_USUAL_SAMPLES = 180  # about a minute tells how far apart the two arrive as a rule
_FOLLOW_MS = 0.8  # how far one sample moves the estimate: bursts move it little, a clock 0.2 % off is followed
_TOLERATED_MS = 150.0
_CORRECTED_MS = 10.0


class Drift:
    """Slow estimate of the skew: DTS of the audio last arrived minus that of the video.

    What is corrected is the change against the first minute's skew, once it is beyond what interleaving explains.
    """

    __slots__ = ("_correcting", "_samples", "_skew_ms", "_usual_ms")

    def __init__(self) -> None:
        self._samples = 0
        self._usual_ms = 0.0
        self._skew_ms = 0.0
        self._correcting = False

    def sample(self, skew_ms: int) -> int:
        """Take one sample, in ms; how many ms (-1, 0 or 1) audio is to be moved by from now on."""
        if self._samples < _USUAL_SAMPLES:
            self._samples += 1
            self._usual_ms += (skew_ms - self._usual_ms) / self._samples
            self._skew_ms = self._usual_ms
            return 0
        self._skew_ms += max(-_FOLLOW_MS, min(_FOLLOW_MS, skew_ms - self._skew_ms))
        off_ms = self._skew_ms - self._usual_ms
        if abs(off_ms) > _TOLERATED_MS:
            self._correcting = True
        elif abs(off_ms) < _CORRECTED_MS:
            self._correcting = False
        if not self._correcting:
            return 0
        nudge_ms = -1 if off_ms > 0 else 1
        self._skew_ms += nudge_ms
        return nudge_ms
