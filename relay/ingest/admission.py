"""Admission: may this key publish, or play, and which channel is it for. In memory, by SHA-256, throttled."""

import time
from collections import Counter
from collections.abc import Callable

from relay.errors import RefusedError
from relay.secret import Secret
from relay.throttle import Recent, Throttle, origin

_MOST_FORMER = 1000
_MOST_CAME = 10_000
_CHANGED = "this stream key was changed: copy the new one from the relay, or ask the operator for it"
_WRONG = "wrong key: copy it again from the relay, or ask the operator for it"
UNKNOWN = "unknown"  # the channel label of refusals: nothing a stranger wrote becomes a label


class Admission:
    """The index of keys. ``outcomes`` counts (channel, outcome); used on the event loop only.

    Keys are found by digest, so that looking one up tells nothing about others by its timing; the found key's
    own text is compared in constant time besides.
    """

    def __init__(self, failures_per_minute: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._publish: dict[str, tuple[str, Secret]] = {}
        self._read: dict[str, tuple[str, Secret]] = {}
        self._former: dict[str, None] = {}  # digests of stream keys that were right once, oldest first
        self._digests: dict[str, tuple[str, str]] = {}
        self._throttle = Throttle(failures_per_minute, clock)
        self._came = Recent[tuple[str, str]](_MOST_CAME)  # (origin, digest) of keys that were right
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def set_channel(self, name: str, publish_key: Secret, read_key: Secret) -> None:
        """Admit these keys to channel ``name``, and its former ones no longer."""
        self.remove(name)
        digests = publish_key.digest(), read_key.digest()
        self._former.pop(digests[0], None)
        self._publish[digests[0]] = (name, publish_key)
        self._read[digests[1]] = (name, read_key)
        self._digests[name] = digests

    def remove(self, name: str) -> None:
        """Admit nobody to channel ``name`` from now on."""
        publish, read = self._digests.pop(name, ("", ""))
        if self._publish.pop(publish, None) is not None:
            self._former[publish] = None
            while len(self._former) > _MOST_FORMER:
                del self._former[next(iter(self._former))]
        self._read.pop(read, None)

    def admit_publish(self, key: str, address: str, *, is_counted: bool = True) -> str:
        """The channel ``key`` may publish. Raises RefusedError, in words an encoder can show.

        ``is_counted``: whether this is a publisher that comes, and not one of many requests of one that is there.
        """
        if not key:
            self._refuse(
                "no_key", "no stream key: put it into the encoder's stream key field, or behind the URL", address
            )
        return self._admit(self._publish, key, address, is_counted=is_counted)

    def still_admits(self, key: str, name: str) -> None:
        """For a publisher that was admitted to channel ``name``. Raises RefusedError once the key does not open it."""
        found, expected = self._publish.get(Secret(key).digest(), ("", Secret("")))
        if found != name or Secret(key) != expected:
            raise RefusedError("bad_key", _CHANGED)

    def admit_play(self, channel: str, key: str, address: str) -> str:
        """The channel ``key`` may play, which must be ``channel`` where one is named. Raises RefusedError."""
        if not key:
            self._refuse("no_key", "no read key: add ?key=READ_KEY to the address", address)
        found = self._admit(self._read, key, address)
        if channel not in ("", found, key):
            self._refuse("bad_key", f"this read key is not for {channel}", address)
        return found

    def _admit(self, index: dict[str, tuple[str, Secret]], key: str, address: str, *, is_counted: bool = True) -> str:
        shown = Secret(key)
        digest = shown.digest()
        here = origin(address), digest
        # Strangers guess, and phones behind the same carrier's address have shown theirs before: no guess is tried.
        if self._throttle.is_full(address) and here not in self._came:
            self.outcomes[UNKNOWN, "throttled"] += 1
            raise RefusedError("throttled", "too many wrong keys from this address; wait a minute and check the key")
        if digest in self._former:  # no guess: others at this address are not to wait for it
            self.outcomes[UNKNOWN, "bad_key"] += 1
            raise RefusedError("bad_key", _CHANGED)
        name, expected = index.get(digest, ("", Secret("")))
        if not name or shown != expected:
            self._refuse("bad_key", _WRONG, address)
        self._came.add(here)
        if is_counted:
            self.outcomes[name, "accepted"] += 1
        return name

    def _refuse(self, outcome: str, message: str, address: str) -> None:
        self.outcomes[UNKNOWN, outcome] += 1
        self._throttle.note(address)
        raise RefusedError(outcome, message)
