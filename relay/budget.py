"""Budget: how many connections strangers may hold, with room kept for those who have shown a key before."""

from collections import Counter, OrderedDict
from collections.abc import Callable

from relay.config import LimitSettings
from relay.errors import LimitError
from relay.throttle import Purse, Recent, origin

# This long nobody is put out to make room: who has said nothing whole yet, and who has. Encoders greet at once.
SILENT_S, GREETED_S = 0.3, 2.0
KNOWN_MOST = 10_000  # origins remembered
COUNT_EVERY_S = 1.0
FEWEST_CONNECTS = 20  # that anybody may make at once
_KEPT_MOST = 512
_NO_DESCRIPTORS = "this process may not open more files; raise its limit (ulimit -n, LimitNOFILE)"
# Of the descriptors there are, those that strangers may not take, those that publishers may not either (files of the
# archive and connections to destinations want some, too), and those that not even the operators' HTTP may.
_NOT_STRANGERS, _NOT_PUBLISHERS, _NOBODY = 3 / 8, 1 / 8, 1 / 32


class Place:
    """One connection's place. ``close`` is called to make room; ``evicted`` says why then.

    ``greeted``: it has said the first thing its protocol wants. ``displaced``: another makes room for it.
    """

    __slots__ = (
        "_budget",
        "address",
        "authenticated",
        "close",
        "displaced",
        "evicted",
        "gone",
        "greeted",
        "known",
        "origin",
        "since",
    )

    def __init__(self, budget: "ConnectionBudget", address: str, since: float, *, known: bool) -> None:
        self._budget = budget
        self.gone = False
        self.address = address
        self.origin = origin(address)
        self.since = since  # on the clock ``enter`` was told the time by
        self.known = known
        self.authenticated = self.greeted = self.displaced = False
        self.close: Callable[[], object] = lambda: None
        self.evicted = ""

    def authenticate(self) -> None:
        """It has shown a right key. Idempotent."""
        if not self.authenticated and not self.gone:
            self.authenticated = True
            self._budget.authenticated(self)

    def leave(self) -> None:
        """The connection is over. Idempotent."""
        if not self.gone:
            self.gone = True
            self._budget.left(self)


class ConnectionBudget:
    """Counts open connections of every door: in all, not yet authenticated, and per address.

    Who comes from where a right key came from before does not count among those not yet authenticated, nor is kept out
    by them. Each of the others may come only so often, and one of whoever has most of them makes room for a new one.
    ``hits`` counts by limit. ``descriptors``: how many this process may have; ``count``: how many it has.
    """

    __slots__ = (
        "_by_origin",
        "_came",
        "_count",
        "_counted_at",
        "_handshakes",
        "_known",
        "_limits",
        "_others",
        "_strangers",
        "descriptors",
        "hits",
        "total",
    )

    def __init__(self, limits: LimitSettings, descriptors: int = 1 << 20, count: Callable[[], int] = lambda: 0) -> None:
        self._limits = limits
        self._by_origin: Counter[str] = Counter()
        self._strangers: dict[Place, None] = {}  # the oldest first
        self._known = Recent[str](KNOWN_MOST)
        self._came: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how often each may still, and as of when
        self._handshakes: dict[str, Purse] = {}  # by door
        self.descriptors = descriptors
        self._count = count
        self._counted_at = -COUNT_EVERY_S
        self._others = 0  # descriptors of anything but connections
        self.total = 0
        self.hits: Counter[str] = Counter()

    @property
    def unauthenticated(self) -> int:
        return len(self._strangers)

    def enter(self, address: str, now: float, *, counted: bool = True) -> Place:
        """A place for one more connection from ``address``.

        Not ``counted``, it only wants a descriptor. Raises LimitError, naming which limit, and counts but the refusal
        then.
        """
        limits = self._limits
        place = Place(self, address, now, known=origin(address) in self._known)
        try:
            if not counted:
                if self._is_short(now, _NOBODY):
                    raise LimitError("descriptors", _NO_DESCRIPTORS)
                place.gone = True
                return place
            if self._by_origin[place.origin] >= limits.most_per_address:
                raise LimitError("connections_per_address", f"too many connections from {place.origin}")
            if not place.known and not self._may_come(place.origin, now):
                raise LimitError("connects_per_address", f"{place.origin} connects too often without a key")
            if self._is_short(now, _NOT_PUBLISHERS if place.known else _NOT_STRANGERS):
                self._make_room("descriptors", _NO_DESCRIPTORS, place)
            if self.total >= limits.connections:
                self._make_room("connections", f"{self.total} connections are open, the most there may be", place)
            if not place.known and len(self._strangers) >= limits.connections_unauthenticated:
                words = "too many connections have not shown a key yet"
                self._make_room("connections_unauthenticated", words, place)
        except LimitError as error:
            self.hits[error.limit] += 1
            if not self._by_origin[place.origin]:
                del self._by_origin[place.origin]
            raise
        self._by_origin[place.origin] += 1
        self.total += 1
        if not place.known:
            self._strangers[place] = None
        return place

    def handshake(self, place: Place, door: str, now: float) -> None:
        """TLS begins: a stranger's costs the processor more than all it may do until it has shown a key.

        Raises LimitError, and the place is left, where strangers have had as many at ``door`` as there may be.
        """
        per_s = self._limits.tls_handshakes_per_s
        purse = self._handshakes.setdefault(door, Purse(max(1.0, per_s), per_s, now))
        if not (place.known or purse.spend(now)):
            self.hits["tls_handshakes"] += 1
            place.leave()
            raise LimitError("tls_handshakes", "too many TLS handshakes with strangers")

    def _is_short(self, now: float, kept: float) -> bool:
        """Whether no more than the share ``kept`` of the descriptors are left."""
        if now - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = now
            self._others = self._count() - self.total
        return self._others + self.total >= self.descriptors - min(self.descriptors * kept, _KEPT_MOST)

    def _may_come(self, whose: str, now: float) -> bool:
        """A purse of as many connects as there may be connections, which fills by ``connects_per_s``."""
        most = max(self._limits.most_per_address, FEWEST_CONNECTS)
        left, at = self._came.pop(whose, (float(most), now))
        left = min(most, left + (now - at) * self._limits.most_connects_per_s)
        self._came[whose] = (max(0.0, left - 1), now)
        if len(self._came) > KNOWN_MOST:
            self._came.popitem(last=False)
        return left >= 1

    def _make_room(self, limit: str, words: str, place: Place) -> None:
        """Put one out for ``place`` that has not shown a key. Raises LimitError where all have just come."""
        victim = self._victim(place.since)
        if victim is None:
            raise LimitError(limit, words)
        self.hits[limit] += 1
        place.displaced = True
        victim.evicted = "no key yet, and others need the place"
        victim.leave()
        victim.close()

    def _victim(self, now: float) -> Place | None:
        """Of those that had their time, the oldest of whoever has most; the silent come before those that greeted."""
        for greeted, grace_s in ((False, SILENT_S), (True, GREETED_S)):
            late = [other for other in self._strangers if other.greeted is greeted and now - other.since >= grace_s]
            if late:
                counts = Counter(other.origin for other in late)
                most = max(counts.values())
                return next(other for other in late if counts[other.origin] == most)
        return None

    # --- called by places --------------------------------------------------------------------------------------

    def authenticated(self, place: Place) -> None:
        self._strangers.pop(place, None)
        self._known.add(place.origin)

    def left(self, place: Place) -> None:
        self.total -= 1
        self._strangers.pop(place, None)
        self._by_origin[place.origin] -= 1
        if not self._by_origin[place.origin]:
            del self._by_origin[place.origin]
