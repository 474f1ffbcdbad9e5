"""Budget: how many connections strangers may hold, with room kept for those who have shown a key before."""

from collections import Counter, OrderedDict
from collections.abc import Callable

from relay.config import LimitSettings
from relay.errors import LimitError
from relay.throttle import origin

GRACE_S = 1.0  # this long nobody is put out to make room: most have shown a key by then
KNOWN_MOST = 10_000  # origins remembered
_KEPT_MOST = 512
_NO_DESCRIPTORS = "this process may not open more files; raise its limit (ulimit -n, LimitNOFILE)"
# Of the descriptors there are, those that strangers may not take, those that publishers may not either (files of the
# archive and connections to destinations want some, too), and those that not even the operators' HTTP may.
_NOT_STRANGERS, _NOT_PUBLISHERS, _NOBODY = 3 / 8, 1 / 8, 1 / 32


class Place:
    """One connection's place. ``close`` is called to make room; ``evicted`` says why then."""

    __slots__ = ("_budget", "address", "authenticated", "close", "evicted", "gone", "known", "origin", "since")

    def __init__(self, budget: "ConnectionBudget", address: str, since: float, *, known: bool) -> None:
        self._budget = budget
        self.gone = False
        self.address = address
        self.origin = origin(address)
        self.since = since  # on the clock ``enter`` was told the time by
        self.known = known
        self.authenticated = False
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
    by them. Of the others the oldest, of whoever has most, makes room for a new one. ``hits`` counts by limit.
    ``descriptors``: how many this process may have.
    """

    __slots__ = ("_by_origin", "_known", "_limits", "_strangers", "descriptors", "hits", "total")

    def __init__(self, limits: LimitSettings, descriptors: int = 1 << 20) -> None:
        self._limits = limits
        self._by_origin: Counter[str] = Counter()
        self._strangers: dict[Place, None] = {}  # the oldest first
        self._known: OrderedDict[str, None] = OrderedDict()
        self.descriptors = descriptors
        self.total = 0
        self.hits: Counter[str] = Counter()

    @property
    def unauthenticated(self) -> int:
        return len(self._strangers)

    def enter(self, address: str, now: float, descriptor: int = 0, *, counted: bool = True) -> Place:
        """A place for one more connection from ``address``, at the system's number ``descriptor``.

        Not ``counted``, it only wants a descriptor. Raises LimitError, naming which limit, and counts but the refusal
        then.
        """
        limits = self._limits
        place = Place(self, address, now, known=origin(address) in self._known)
        try:
            if not counted:
                if self._is_short(descriptor, _NOBODY):
                    raise LimitError("descriptors", _NO_DESCRIPTORS)
                place.gone = True
                return place
            if self._by_origin[place.origin] >= limits.most_per_address:
                raise LimitError("connections_per_address", f"too many connections from {place.origin}")
            kept = _NOT_PUBLISHERS if place.known else _NOT_STRANGERS
            if self._is_short(descriptor, kept) and not self._make_room("descriptors", now):
                raise LimitError("descriptors", _NO_DESCRIPTORS)
            if self.total >= limits.connections and not (place.known and self._make_room("connections", now)):
                raise LimitError("connections", f"{self.total} connections are open, the most there may be")
            if (
                not place.known
                and len(self._strangers) >= limits.connections_unauthenticated
                and not self._make_room("connections_unauthenticated", now)
            ):
                raise LimitError("connections_unauthenticated", "too many connections have not shown a key yet")
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

    def _is_short(self, descriptor: int, kept: float) -> bool:
        """Descriptors have the lowest free number, so a high one says how many are in use."""
        return descriptor >= self.descriptors - min(self.descriptors * kept, _KEPT_MOST)

    def _make_room(self, limit: str, now: float) -> bool:
        """Put one out that has not shown a key, if there is one that had the time to; ``limit`` says what for."""
        if not self._strangers:
            return False
        counts = Counter(place.origin for place in self._strangers)
        most = max(counts.values())
        victim = next(place for place in self._strangers if counts[place.origin] == most)
        if now - victim.since < GRACE_S:
            return False
        self.hits[limit] += 1
        victim.evicted = "no key yet, and others need the place"
        victim.leave()
        victim.close()
        return True

    # --- called by places --------------------------------------------------------------------------------------

    def authenticated(self, place: Place) -> None:
        self._strangers.pop(place, None)
        self._known[place.origin] = None
        self._known.move_to_end(place.origin)
        if len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)

    def left(self, place: Place) -> None:
        self.total -= 1
        self._strangers.pop(place, None)
        self._by_origin[place.origin] -= 1
        if not self._by_origin[place.origin]:
            del self._by_origin[place.origin]
