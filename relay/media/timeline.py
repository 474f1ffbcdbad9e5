"""Timeline: a publisher's 32-bit millisecond clock turned into one that only goes forward."""

_WRAP = 1 << 32
_HALF = 1 << 31


class Timeline:
    """Maps the timestamps of one publisher's connection onto the stream's own milliseconds.

    Unwraps the 32-bit field (RTMP 1.0 §5.3.1: comparisons use serial number arithmetic, RFC 1982) and keeps
    each track's DTS strictly increasing and above ``floor_ms``. ``origin_ms`` is where the first packet lands;
    ``None`` keeps the publisher's own number. One offset serves both tracks, so A/V stay as they were sent.
    """

    __slots__ = ("_last_out", "_last_raw", "_offset", "_origin_ms", "repaired")

    def __init__(self, origin_ms: int | None = None, floor_ms: int = -_WRAP) -> None:
        self._origin_ms = origin_ms
        self._offset = 0
        self._last_raw: int | None = None
        self._last_out: list[int] = [floor_ms, floor_ms]
        self.repaired = 0

    def place(self, timestamp: int, is_video: bool) -> int:
        """The DTS in ms for wire timestamp ``timestamp`` (0…2^32-1) of the video or the audio track."""
        last = self._last_raw
        if last is None:
            raw = timestamp
            if self._origin_ms is not None:
                self._offset = self._origin_ms - raw
        else:
            # The nearest number congruent to the 32-bit field: small steps back (interleaved tracks) stay so.
            raw = last + ((timestamp - last + _HALF) & (_WRAP - 1)) - _HALF
        self._last_raw = raw
        dts = raw + self._offset
        track = 0 if is_video else 1
        if dts <= self._last_out[track]:
            dts = self._last_out[track] + 1
            self.repaired += 1
        self._last_out[track] = dts
        return dts
