"""EventLog: the last things the relay said of itself, kept for the console by a structlog processor."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

from structlog.types import WrappedLogger

from relay.redaction import known
from relay.web.pages import size

KEPT = 500  # of each channel, and of what belongs to none
CHANNELS = 1000  # those that spoke last
MOST = 20_000  # in all, some ten megabytes: beyond it, whoever said most loses its oldest
VALUE_CHARS = 300
_APART = frozenset({"event", "level", "timestamp", "channel", "exc_info", "stack_info", "recording"})
_ALONE = frozenset({"reason", "error", "address", "destination", "words"})  # plain without their names


class Event(NamedTuple):
    """One line. ``number`` counts all there were; ``details``: (name, value) as text."""

    number: int
    at: str  # ISO 8601, UTC
    level: str
    channel: str
    words: str
    details: tuple[tuple[str, str], ...]

    def shown(self, hide: Callable[[str], str]) -> dict[str, Any]:
        """As the console shows it, each text as ``hide`` returns it."""
        details = " · ".join(hide(_told(name, value)) for name, value in self.details)
        return {
            "number": self.number,
            "at": self.at,
            "level": self.level,
            "channel": self.channel,
            "words": hide(self.words[:1].upper() + self.words[1:]),
            "details": details,
        }


class EventLog:
    """Some hundred events of each channel. Called in whatever thread logs; read in the event loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._kept: dict[str, deque[Event]] = {}
        self._count = 0
        self.newest = 0

    def __call__(self, _: WrappedLogger, __: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor: keep ``said``, and let it go on as it is."""
        channel = str(said.get("channel", ""))
        details = tuple(
            (name, _text(value)) for name, value in said.items() if name not in _APART and value not in (None, "")
        )
        words, level = _text(said.get("event", "")), str(said.get("level", "info"))
        with self._lock:
            kept = self._room(channel)
            number = next(self._numbers)
            kept.append(Event(number, str(said.get("timestamp", "")), level, channel, words, details))
            self.newest = number
        return said

    def _room(self, channel: str) -> deque[Event]:
        """The lines of ``channel``, with room for one more; whoever speaks is the last to be forgotten whole."""
        kept = self._kept.pop(channel) if channel in self._kept else deque(maxlen=KEPT)
        self._kept[channel] = kept  # behind all others
        if len(self._kept) > CHANNELS:
            quietest = next(iter(self._kept))
            self._count -= len(self._kept.pop(quietest))
        if len(kept) < KEPT:
            self._count += 1
        if self._count > MOST:
            self._count -= 1
            max(self._kept.values(), key=len).popleft()
        return kept

    def since(self, number: int, channel: str | None = None, most: int = KEPT) -> list[Event]:
        """The events after ``number``, the oldest first: one channel's, or (None) everything."""
        if self.newest <= number:
            return []
        found: Iterable[Event]
        if channel is not None:
            found = tuple(self._kept.get(channel, ()))
        else:
            found = sorted(event for kept in tuple(self._kept.values()) for event in tuple(kept))
        return [event for event in found if event.number > number][-most:]


def _told(name: str, value: str) -> str:
    """A detail as a person reads it: ``next try 5.3 s``, ``encoder OBS``, and reasons by themselves."""
    if name in _ALONE:
        return value
    if name in ("bytes", "bytes_sent") and value.isdigit():
        return size(int(value))
    label = name.replace("_", " ")
    return f"{label.removesuffix(' s')} {value} s" if label.endswith(" s") else f"{label} {value}"


def _text(value: object) -> str:
    """``value`` in a line, cut where it is long."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        value = ", ".join(_text(item) for item in value)
    text = " ".join(known.censor(str(value)).split())
    return text if len(text) <= VALUE_CHARS else text[: VALUE_CHARS - 1] + "…"
