"""The relay with a point at which it kills itself: ``python launch.py STEP WHEN COUNT ARM serve …``.

The relay's own code runs unchanged but for the calls in STEPS, which are counted once the file ARM exists. At the
COUNT-th call of STEP, the process gets a SIGKILL ``before`` it, ``after`` it, or ``half`` through a write.
"""

import asyncio
import functools
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from relay.archive import upkeep
from relay.archive.committer import Committer
from relay.archive.store import FileStore
from relay.cli.main import main
from relay.database import RecordingsRepo
from relay.ingest.rtmp_connection import RtmpConnection
from relay.protocol.rtmp.server import ServerConnection

SOON_S = 0.01  # by then the loop has written what it was given


class Step(NamedTuple):
    """A call of the relay's: where it is looked up, whether with these arguments it counts, the most of COUNT."""

    owner: Any
    name: str
    counts: Callable[..., bool] = lambda *_, **__: True
    most: int = 4


def _by_spool(*_: object) -> bool:
    return threading.current_thread().name == "spool"


def _path_ends(ending: str) -> Callable[..., bool]:
    return lambda path, *_, **__: str(path).endswith(ending)


def _key_ends(ending: str) -> Callable[..., bool]:
    return lambda _store, key, *_, **__: key.endswith(ending)


def _state(wanted: str) -> Callable[..., bool]:
    return lambda _repo, _recording, state, *_: bool(state == wanted)


STEPS = {
    "write": Step(os, "write", _by_spool, 10),
    "fdatasync": Step(os, "fdatasync", _by_spool, 10),
    "commit told": Step(Committer, "_finished", most=10),
    "ACK": Step(RtmpConnection, "_write", lambda *_: _acknowledging()),
    "part named": Step(Path, "rename", _path_ends(".flv.part")),
    "init segment named": Step(Path, "replace", _path_ends(".mp4.tmp"), 1),
    "segment named": Step(Path, "replace", _path_ends(".m4s.tmp")),
    "catalog: recording": Step(RecordingsRepo, "create", most=1),
    "catalog: segment": Step(RecordingsRepo, "add_segment"),
    "catalog: gap": Step(RecordingsRepo, "add_gap", most=1),
    "catalog: stored": Step(RecordingsRepo, "mark_stored"),
    "catalog: complete": Step(RecordingsRepo, "set_state", _state("complete"), 1),
    "put init segment": Step(FileStore, "put", _key_ends(".mp4"), 1),
    "put segment": Step(FileStore, "put", _key_ends(".m4s")),
    "put playlist": Step(FileStore, "put", _key_ends("index.m3u8"), 1),
    "object named": Step(os, "replace", lambda _, to: str(to).endswith(".m4s")),
    "part removed": Step(upkeep, "remove", _path_ends(".flv")),
    "catalog: deleting": Step(RecordingsRepo, "set_state", _state("deleting"), 1),
    "object deleted": Step(FileStore, "delete", lambda _, key: not key.startswith("relay-check/"), 2),
    "spool cleared": Step(upkeep, "clear", most=1),
    "catalog: deleted": Step(RecordingsRepo, "delete", most=1),
}
DELETING = ("catalog: deleting", "object deleted", "spool cleared", "catalog: deleted")
POINTS = [*((step, when) for step in STEPS for when in ("before", "after")), ("write", "half")]

_acknowledged = threading.Event()


def _acknowledging() -> bool:
    """Whether what is being written holds an Acknowledgement."""
    was = _acknowledged.is_set()
    _acknowledged.clear()
    return was


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Says at which call it is time."""

    def __init__(self, count: int, arm: Path) -> None:
        self._left = count
        self._arm = arm
        self._lock = threading.Lock()

    def due(self) -> bool:
        with self._lock:
            if not self._arm.exists():
                return False
            self._left -= 1
            return self._left == 0


def rig(step: Step, when: str, countdown: Countdown) -> None:
    """Put the SIGKILL into the call that ``step`` describes."""
    real = getattr(step.owner, step.name)

    def begins(arguments: tuple[Any, ...]) -> bool:
        due = step.counts(*arguments) and countdown.due()
        if due and when == "before":
            die()
        if due and when == "half":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
            die()
        return due

    @functools.wraps(real)
    def call(*arguments: Any, **named: Any) -> Any:
        due = begins(arguments)
        result = real(*arguments, **named)
        if due and step.owner is RtmpConnection:
            asyncio.get_running_loop().call_later(SOON_S, die)
        elif due:
            die()
        return result

    @functools.wraps(real)
    async def call_and_wait(*arguments: Any, **named: Any) -> Any:
        due = begins(arguments)
        result = await real(*arguments, **named)
        if due:
            die()
        return result

    setattr(step.owner, step.name, call_and_wait if inspect.iscoroutinefunction(real) else call)


def note_acknowledgements() -> None:
    real = ServerConnection.acknowledge

    def acknowledge(self: ServerConnection, count: int) -> None:
        _acknowledged.set()
        real(self, count)

    ServerConnection.acknowledge = acknowledge  # type: ignore[method-assign]


if __name__ == "__main__":
    name, when, count, arm, *words = sys.argv[1:]
    sys.argv[1:] = words
    note_acknowledgements()
    rig(STEPS[name], when, Countdown(int(count), Path(arm)))
    main()
