"""Disk: free space against a reserve, and who gives way when it runs short. The live relay never does."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from relay.archive.recorder import Recorder
from relay.archive.stats import ArchiveStats

log = structlog.get_logger("relay.archive")

LOOK_EVERY_S = 1.0
LAST_BYTES = 32 * 1024 * 1024


class Space(NamedTuple):
    """Bytes of a disk: free for programs, and in all."""

    free: int
    total: int


def space(path: Path) -> Space:
    """Of the disk ``path`` is, or will be, on. Raises OSError."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


class DiskWatch:
    """To be checked once a second. Short of the reserve: stored copies go (``evict``), then no new recording begins.

    Short of half the reserve: running recordings pause, one a look, the lowest ``priority`` first and of equals the
    newest. With the reserve free again everything goes on (``resumed`` is told).
    """

    def __init__(
        self,
        root: Path,
        reserve_percent: float,
        reserve_bytes: int,
        recorders: Mapping[str, Recorder],
        priority: Callable[[str], int],
        stats: ArchiveStats,
    ) -> None:
        self._root = root
        self._reserve_percent = reserve_percent
        self._reserve_bytes = reserve_bytes
        self._recorders = recorders
        self._priority = priority
        self._stats = stats
        self.evict: Callable[[int], Awaitable[int]] | None = None
        self.resumed: Callable[[], None] = lambda: None
        self.space = Space(0, 0)
        self.is_short = False
        self._checking = asyncio.Lock()

    def look(self) -> None:
        """Measure. Blocks. Raises OSError."""
        self.space = space(self._root)

    @property
    def reserve(self) -> int:
        """Bytes to keep free: what is asked for, but never more than half the disk."""
        asked = max(self._reserve_bytes, int(self.space.total * self._reserve_percent / 100))
        return min(asked, self.space.total // 2)

    @property
    def paused(self) -> list[str]:
        """Channels whose recording is paused."""
        return [channel for channel, recorder in self._recorders.items() if recorder.is_paused]

    async def check(self) -> None:
        """Look once and do what that asks for. Raises OSError."""
        async with self._checking:
            await self._check()

    async def _check(self) -> None:
        await asyncio.to_thread(self.look)
        # Copies go before the disk is full, also where nothing is to be kept free.
        wanted = max(self.reserve, min(LAST_BYTES, self.space.total // 50))
        if self.space.free < wanted and self.evict is not None:
            freed = await self.evict(wanted - self.space.free)
            if freed:
                await asyncio.to_thread(self.look)
        free, reserve = self.space.free, self.reserve
        was_short, self.is_short = self.is_short, free < reserve
        if self.is_short != was_short:
            log.warning("the spool disk is short of space" if self.is_short else "the spool disk has space again",
                        free_bytes=free, reserve_bytes=reserve)  # fmt: skip
        if free < reserve // 2:
            self._pause_one()
        elif not self.is_short:
            for channel in self.paused:
                self._recorders[channel].resume()
                log.info("recording goes on", channel=channel)
            if was_short:
                self.resumed()

    def _pause_one(self) -> None:
        running = [recorder for recorder in self._recorders.values() if not recorder.is_paused]
        if not running:
            return
        least = min(running, key=lambda item: (self._priority(item.stream.name), -item.started_at))
        least.pause()
        self._stats.paused += 1
        log.error("recording paused: the spool disk is nearly full", channel=least.stream.name)

    def problems(self) -> list[str]:
        """In words, with what to do."""
        if not self.is_short:
            return []
        words = f"the spool disk has {self.space.free / 1e6:.0f} MB free of the {self.reserve / 1e6:.0f} MB to be kept"
        if self.paused:
            return [f"{words}: recording is paused on {', '.join(sorted(self.paused))}; free space, or give it more"]
        return [f"{words}: no new recording begins; free space on the disk, or give it more"]
