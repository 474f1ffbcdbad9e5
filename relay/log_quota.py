"""Log quota: no one source fills the log; what it said beyond its lines a second is counted and told as one line."""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

LINES = 50  # a second, of each source
STRANGERS = "strangers"

log = structlog.get_logger("relay.logs")


class LogQuota:
    """A structlog processor. Sources are each channel, strangers (lines with an address and no channel) all together,
    and, of the relay's own, each kind of line. Called in whatever thread logs; ``clock`` in seconds, as the lines have.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second = 0
        self._said: Counter[str] = Counter()
        self._left_out: dict[str, Counter[str]] = {}

    def __call__(self, _: object, __: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Let ``said`` go on, or drop it."""
        event = str(said.get("event", ""))
        source = _source(said, event)
        with self._lock:
            before = self._turn()
            self._said[source] += 1
            is_over = self._said[source] > LINES
            if is_over:
                self._left_out.setdefault(source, Counter())[event] += 1
                if self._said[source] == LINES + 1:
                    self._look_again()
        _tell(before)
        if is_over:
            raise structlog.DropEvent
        return said

    def tell(self) -> None:
        """Say what was left out in a second that is over."""
        with self._lock:
            before = self._turn()
        _tell(before)

    def _turn(self) -> dict[str, Counter[str]]:
        """What was left out, once its second is over."""
        second = int(self._clock())
        if second == self._second:
            return {}
        self._second = second
        self._said.clear()
        left_out, self._left_out = self._left_out, {}
        return left_out

    def _look_again(self) -> None:
        """Perhaps nothing more is said to be told with; away from the loop, whatever is said next will do."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_later(1.01, self.tell)


def _source(said: MutableMapping[str, Any], event: str) -> str:
    channel = said.get("channel")
    if channel:
        return f"channel {channel}"
    return STRANGERS if "address" in said else event


def _tell(left_out: dict[str, Counter[str]]) -> None:
    for source, events in left_out.items():
        log.warning("log lines left out", source=source, lines=events.total(), of=dict(events))
