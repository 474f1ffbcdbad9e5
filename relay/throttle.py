"""Throttle: how often an address failed of late, and how often anything may be had. Bounded, whoever tries."""

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

WINDOW_S = 60.0
MOST_ADDRESSES = 10_000

Key = TypeVar("Key", bound=Hashable)


def origin(address: str) -> str:
    """Who is behind ``address``, as far as it tells: itself in IPv4, the /64 that one customer has in IPv6."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64)) + "/64"


class Purse:
    """What may be had ``most`` times at once, and ``per_s`` times a second in the long run. ``now`` in seconds."""

    __slots__ = ("_at", "_left", "_most", "_per_s")

    def __init__(self, most: float, per_s: float, now: float) -> None:
        self._most = self._left = float(most)
        self._per_s = per_s
        self._at = now

    def spend(self, now: float) -> bool:
        """Once more; False where there is nothing left."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Recent(Generic[Key]):
    """The last ``most`` that were added, each once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: OrderedDict[Key, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, key: Key) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)


class Throttle:
    """Counts failures by address, up to ``most`` in WINDOW_S. ``clock`` in seconds, never going back.

    With MOST_ADDRESSES known, further ones are not counted until some of these have been quiet for a window.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def __len__(self) -> int:
        """How many addresses are known."""
        return len(self._failures)

    def is_full(self, address: str) -> bool:
        """Whether ``address`` has failed as often as it may."""
        times = self._failures.get(origin(address))
        return times is not None and len(times) == self._most and self._clock() - times[0] < WINDOW_S

    def note(self, address: str) -> None:
        """One more failure, or a try whose end is not known yet."""
        now = self._clock()
        address = origin(address)
        if address not in self._failures and len(self._failures) >= MOST_ADDRESSES:
            self._failures = {key: times for key, times in self._failures.items() if now - times[-1] < WINDOW_S}
            if len(self._failures) >= MOST_ADDRESSES:
                return
        self._failures.setdefault(address, deque(maxlen=self._most)).append(now)

    def forgive(self, address: str) -> None:
        """The last one noted was none."""
        address = origin(address)
        times = self._failures.get(address)
        if times:
            times.pop()
            if not times:
                del self._failures[address]
