"""Share: how much of a processor one connection may take, so that no peer slows the others down."""

READ_S = 40e-6  # what each read costs besides: waking up, and the system calls
STRANGER_S = 0.02  # what who has shown no key may use at once; connecting and publishing takes a tenth of it
SAVED_S = 0.5  # what a publisher may: some minutes of media that come all together after an outage


class Share:
    """A purse of processor seconds that fills at ``share`` of a core. Times on one clock, in seconds."""

    __slots__ = ("_left_s", "_most_s", "_share", "_spent_at")

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._left_s = self._most_s = STRANGER_S
        self._spent_at = now

    def trust(self) -> None:
        """The peer has shown a right key."""
        self._left_s = self._most_s = SAVED_S

    def spend(self, took_s: float, now: float) -> float:
        """A read took ``took_s`` of the processor. When the next one may be: ``now``, or later."""
        left_s = self._left_s + (now - self._spent_at) * self._share
        self._left_s = left_s = (left_s if left_s < self._most_s else self._most_s) - took_s - READ_S
        self._spent_at = now
        return now if left_s >= 0 else now - left_s / self._share
