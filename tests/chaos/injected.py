"""Injected: strace on the one thread of a relay that syncs spool parts, and what it saw and did there."""

import asyncio
import math
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.chaos.bench import Bench
from tests.support.process import Process, Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay

_MADE = re.compile(r"[\d.]+ openat\(.*\"([^\"]+)\", [A-Z_|]*O_EXCL.* = \d")
_SYNC = re.compile(r"([\d.]+) (fdatasync|fsync)\(\d+<([^>]+)>\) += (-?\d+).*<([\d.]+)>")


class Sync(NamedTuple):
    """One fsync or fdatasync of a spool file; when it began and ended, in monotonic seconds."""

    path: Path
    call: str
    began: float
    ended: float
    worked: bool


class Injection:
    """strace attached to the thread; ``words`` are its ``-e`` options. Nothing else of the relay is slowed."""

    def __init__(self, processes: Processes, output: Path, thread: int, words: Sequence[str]) -> None:
        self.began = 0.0
        self.ended = math.inf
        self._output = output
        options = [word for option in words for word in ("-e", option)]
        self._strace = processes.start(
            "strace", "-ttt", "-T", "-y", "-e", "trace=fdatasync,fsync,openat", *options,
            "-o", output, "-p", str(thread),
        )  # fmt: skip

    async def attached(self) -> None:
        """Return once nothing escapes it any more."""
        await _until(lambda: "attached" in self._strace.text(), self._strace)
        self.began = time.monotonic()

    async def failures(self, count: int) -> None:
        """Return once so many syncs have failed."""
        await _until(lambda: sum(not sync.worked for sync in self.syncs()) >= count, self._strace)

    async def stalled(self, count: int) -> None:
        """Return once so many fdatasyncs have come through."""
        await _until(lambda: sum(sync.call == "fdatasync" for sync in self.syncs()) >= count, self._strace)

    async def end(self) -> None:
        """Detach; the relay goes on."""
        self.ended = min(self.ended, time.monotonic())
        await _stop(self._strace)

    def syncs(self) -> list[Sync]:
        """What there was so far, in order."""
        offset = time.time() - time.monotonic()
        found = []
        for line in self._lines():
            match = _SYNC.match(line)
            if match:
                began = float(match[1]) - offset
                found.append(Sync(Path(match[3]), match[2], began, began + float(match[5]), match[4] == "0"))
        return found

    def _lines(self) -> list[str]:
        return self._output.read_text("utf-8").splitlines() if self._output.exists() else []

    def synced_after_failure(self) -> list[str]:
        """Files that were synced again after a sync of theirs had failed; one made anew is another file."""
        failed: set[str] = set()
        again = []
        for line in self._lines():
            made, sync = _MADE.match(line), _SYNC.match(line)
            if made:
                failed.discard(made[1])
            elif sync and sync[3] in failed:
                again.append(sync[3])
            elif sync and sync[4] != "0":
                failed.add(sync[3])
        return again


async def attach(bench: Bench, relay: Relay, *words: str) -> Injection:
    """Find the thread by what it does (a part must be being recorded), and begin to inject."""
    seen = bench.folder / "threads.strace"
    seen.unlink(missing_ok=True)
    watching = bench.processes.start(
        "strace", "-f", "-y", "-e", "trace=fdatasync", "-o", seen, "-p", str(relay.pid)
    )  # fmt: skip
    await _until(lambda: bool(_committers(seen)), watching)
    thread = _committers(seen).pop()
    await _stop(watching)
    number = len(list(bench.folder.glob("injected-*.strace")))
    injection = Injection(bench.processes, bench.folder / f"injected-{number}.strace", thread, words)
    await injection.attached()
    return injection


def _committers(seen: Path) -> set[int]:
    lines = seen.read_text("utf-8").splitlines() if seen.exists() else []
    return {int(line.split()[0]) for line in lines if ".flv.part>" in line}


async def _until(condition: Callable[[], bool], strace: Process) -> None:
    until = time.monotonic() + 30
    while True:
        if condition():
            return
        assert strace.running, strace.tail()
        assert time.monotonic() < until, f"not seen within 30 s: {strace.tail()}"
        await asyncio.sleep(0.05)


async def _stop(strace: Process) -> None:
    strace.signal(signal.SIGINT)
    await strace.wait(20)


def told_too_early(publisher: Publisher, channel: str, injection: Injection) -> int:
    """Messages acknowledged while ``injection`` lasted, though no sync that began after they were sent had worked."""
    syncs = [sync for sync in injection.syncs() if sync.worked and channel in sync.path.parts]
    early: set[int] = set()
    for sequence, told_at in publisher.told:
        if not injection.began <= told_at <= injection.ended:
            continue
        safe_at = max((sync.began for sync in syncs if sync.ended <= told_at), default=injection.began)
        early |= {end for end, sent_at in publisher.ends if end <= sequence and sent_at > safe_at}
    return len(early)
