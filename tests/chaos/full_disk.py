"""The disk fills up while streams are live, and has space again: the platforms notice nothing, the archive says so."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.bench import Bench
from tests.support import clips
from tests.support.acknowledged import Comparison, Counted, compare
from tests.support.listing import assert_same
from tests.support.recording import Recording, read_folder
from tests.support.relay import ApiError, Relay
from tests.support.sink import Sink
from tests.support.tmpfs import SmallDisk

DISK_BYTES = 64 * 1024 * 1024
RESERVE_BYTES = 16 * 1024 * 1024
RESUMES_S = 5.0
LATE_MS = 3000  # where a destination may begin: the keyframe the stream had when it connected
HEAVY_BYTES = 64 * 1024  # more in each video frame: 16 Mbit/s


@dataclass
class _Live:
    """One channel on air: who publishes it, and what became of it."""

    name: str
    publisher: Counted
    task: "asyncio.Task[None]"
    comparison: Comparison = field(default_factory=Comparison)
    row: dict[str, Any] = field(default_factory=dict)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    recording: Recording | None = None
    harm: str = ""  # what its destination saw of it

    @property
    def resumed_at(self) -> float:
        """When the media behind the last gap was sent, unix seconds."""
        gap = self.gaps[-1]
        return datetime.fromisoformat(gap["started_at"]).timestamp() + float(gap["length_s"])


class _Air:
    """A relay, one destination for all its channels, and the publishers on air."""

    def __init__(self, bench: Bench, relay: Relay, sink: Sink, archive: Path) -> None:
        self.bench = bench
        self.relay = relay
        self.sink = sink
        self.live: dict[str, _Live] = {}
        self._archive = archive
        self._clip = clips.make(clips.H264)
        self._stop = asyncio.Event()

    async def go_live(self, name: str, priority: int = 0, padding: int = 0) -> None:
        channel = await self.relay.add_channel(name, archive={"priority": priority})
        await self.relay.add_destination(name, "there", self.sink.url, name)
        publisher = Counted(self.relay.publish_url(channel))
        await publisher.open()
        task = asyncio.create_task(publisher.go_on(self._clip, self._stop, padding=padding))
        self.live[name] = _Live(name, publisher, task)

    async def is_paused(self, name: str) -> bool:
        return bool((await self.relay.channel(name))["recording_paused"])

    async def problems(self) -> str:
        """What ``/readyz`` says is wrong; empty when it is green."""
        try:
            await self.relay.fetch("/readyz")
        except ApiError as error:
            return error.body
        return ""

    async def until(self, what: str, found: Callable[[], Awaitable[bool]], within: float = 60.0) -> None:
        until = time.monotonic() + within
        while not await found():
            assert time.monotonic() < until, f"not {what} after {within} s\n{self.relay.log[-4000:]}"
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        """Publishers say goodbye; then everything is read back."""
        self._stop.set()
        for live in self.live.values():
            await live.task
            await live.publisher.close()
        for live in self.live.values():
            live.row = await self.relay.recording(live.name, within=60)
            live.gaps = (await self.relay.api("GET", f"/recordings/{live.row['id']}/gaps"))["gaps"]
            folder = self._archive / live.name / live.row["id"]
            await self.until("whole", lambda folder=folder: asyncio.to_thread(_is_whole, folder))  # type: ignore[misc]
            live.recording = await asyncio.to_thread(read_folder, folder)
            live.comparison = compare([live.publisher], live.recording.listing().items)
            await asyncio.sleep(0.2)
            try:
                assert_same(live.publisher.sent, self.sink.only(live.name).listing, live.name, late_ms=LATE_MS)
            except AssertionError as error:
                live.harm = str(error)
        await self.relay.stop()

    def say(self, case: str, *, gap: dict[str, str], partly: str = "") -> None:
        """The figures every case has. ``gap``: the reason of the one gap there must be, by channel; others have none.

        ``partly``: the channel whose recording begins later than its stream.
        """
        figure = self.bench.figure
        harmed = [live.harm for live in self.live.values() if live.harm]
        figure(f"{case}: destinations harmed", harmed or 0, "0", not harmed)
        lost = sum(len(live.comparison.lost) for live in self.live.values())
        figure(f"{case}: acknowledged messages lost", lost, "0", lost == 0)
        wrong = sum(
            live.comparison.twice + live.comparison.invented + live.comparison.disordered for live in self.live.values()
        )
        figure(f"{case}: messages twice, invented or out of order", wrong, "0", wrong == 0)
        for live in self.live.values():
            reasons = [item["reason"] for item in live.gaps]
            wanted = [gap[live.name]] if live.name in gap else []
            figure(f"{case}: gaps of {live.name}", reasons, str(wanted), reasons == wanted)
            assert live.recording is not None
            breaks = live.recording.playlist.count("#EXT-X-DISCONTINUITY\n")
            figure(f"{case}: breaks in its playlist", breaks, str(len(wanted)), breaks == len(wanted))
            row = live.row
            length_s = _time(row["ended_at"]) - _time(row["started_at"])
            off_s = abs(length_s - row["duration_s"] - row["gap_s"])
            # A frame of each track: where one of them is last at one end of a gap, and the other at its other.
            figure(f"{case}: time unaccounted for", f"{off_s:.3f} s", "≤ 0.06 s", off_s <= 0.06)
            if live.name not in gap and live.name != partly:
                missing = len(live.comparison.missing)
                figure(f"{case}: messages of {live.name} missing", missing, "0", missing == 0)

    def say_resumed(self, case: str, name: str, freed_at: float) -> None:
        took_s = self.live[name].resumed_at - freed_at
        self.bench.timed(f"{case}: {name} goes on after", f"{took_s:.1f} s", f"≤ {RESUMES_S} s", took_s <= RESUMES_S)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _is_whole(folder: Path) -> bool:
    path = folder / "index.m3u8"
    return path.exists() and "#EXT-X-ENDLIST" in path.read_text("utf-8")


@contextlib.asynccontextmanager
async def _on_air(bench: Bench, case: str, small: str, **settings: object) -> AsyncIterator[tuple[_Air, SmallDisk]]:
    """A relay whose data directory, or what ``small`` names in it, is on a small disk."""
    data = bench.folder / case / "data"
    archive = bench.folder / case / "archive" if small else data / "archive"
    store = f"file:{archive}"
    with SmallDisk(data / small, DISK_BYTES) as disk:
        async with Sink() as sink:
            relay = Relay(bench.processes, data, case, ARCHIVE__STORE=store, ARCHIVE__SEGMENT_S=2, **settings)
            try:
                await relay.start()
                yield _Air(bench, relay, sink, archive), disk
            finally:
                if relay.process is not None:
                    relay.process.kill()


async def _reserve(bench: Bench) -> None:
    """The spool disk runs into its reserve, step by step."""
    settings = {"ARCHIVE__RESERVE_BYTES": RESERVE_BYTES, "ARCHIVE__RESERVE_PERCENT": 0}
    case = "reserve"
    async with _on_air(bench, case, "spool", **settings) as (air, disk):
        await air.go_live("dear", priority=5)
        await air.go_live("cheap")
        spool = disk.path

        def copies() -> set[Path]:
            return set(spool.rglob("*.m4s"))

        async def are_stored() -> bool:
            return (await air.relay.metrics()).get('relay_archive_segments_total{state="stored"}', 0) >= 4

        await air.until("stored", are_stored)
        before = copies()
        disk.fill(RESERVE_BYTES - 100_000)
        await air.until("evicted", lambda: _is(lambda: bool(before - copies()) and disk.free >= RESERVE_BYTES))
        paused = [name for name in ("dear", "cheap") if await air.is_paused(name)]
        bench.figure(f"{case}: paused while stored copies could go", paused or 0, "0", not paused)

        disk.fill(RESERVE_BYTES * 3 // 4)
        await air.until("short", lambda: _says(air, "no new recording begins"))
        words = await air.problems()
        bench.figure(f"{case}: readyz says what to do", words, "free space", "free space on the disk" in words)
        await air.go_live("newcomer")
        await asyncio.sleep(0.5)
        rows = (await air.relay.api("GET", "/recordings?channel=newcomer"))["recordings"]
        refused = not rows and await air.is_paused("newcomer")
        bench.figure(f"{case}: new recordings begun while short", len(rows), "0", refused)

        disk.fill(RESERVE_BYTES * 2 // 5)
        await air.until("paused", lambda: air.is_paused("cheap"))
        bench.figure(f"{case}: paused first", "cheap", "cheap", not await air.is_paused("dear"))
        await air.until("paused", lambda: air.is_paused("dear"))
        words = await air.problems()
        bench.figure(f"{case}: readyz names who is paused", words, "both", "cheap, dear" in words)
        await asyncio.sleep(bench.times(20, 1))
        disk.clear()
        freed_at = time.time()
        await air.until("ready", lambda: _says(air, ""))
        await asyncio.sleep(4.5)
        await air.end()
    full = "spool disk nearly full"
    air.say(case, gap={"dear": full, "cheap": full}, partly="newcomer")
    for name in ("dear", "cheap"):
        air.say_resumed(case, name, freed_at)
    told = air.live["newcomer"].publisher.acknowledged
    bench.figure(f"{case}: bytes acknowledged and not recorded", told, "0", told == 0)


async def _no_reserve(bench: Bench) -> None:
    """Not a byte left on the spool disk: one stream fits into memory meanwhile, the other does not."""
    case = "spool full"
    async with _on_air(bench, "full", "spool", **_NO_RESERVE) as (air, disk):
        await air.go_live("light")
        await air.go_live("heavy", padding=HEAVY_BYTES)
        await asyncio.sleep(2.5)
        disk.fill(0)
        await air.until("noticed", lambda: _says(air, "No space left"))
        await air.until("dropping", lambda: _is_dropping(air, "heavy"))
        await asyncio.sleep(bench.times(20, 1))
        disk.clear()
        freed_at = time.time()
        await air.until("ready", lambda: _says(air, ""))
        await asyncio.sleep(3)
        await air.end()
    air.say(case, gap={"heavy": "spool disk failed"})
    air.say_resumed(case, "heavy", freed_at)


async def _all_full(bench: Bench) -> None:
    """Spool, database and store on one disk, and not a byte left for any of them."""
    case = "all full"
    async with _on_air(bench, "all", "", **_NO_RESERVE) as (air, disk):
        await air.go_live("talk")
        await asyncio.sleep(3)
        disk.fill(0)
        await air.until("noticed", lambda: _says(air, "No space left"))
        await asyncio.sleep(bench.times(30, 5))
        disk.clear()
        await air.until("ready", lambda: _says(air, ""))
        await asyncio.sleep(2)
        await air.end()
    air.say(case, gap={})


_NO_RESERVE: dict[str, object] = {"ARCHIVE__RESERVE_BYTES": 0, "ARCHIVE__RESERVE_PERCENT": 0}


async def _is(found: Callable[[], bool]) -> bool:
    return await asyncio.to_thread(found)


async def _says(air: _Air, words: str) -> bool:
    """Whether readyz has ``words`` in its answer; no words: whether it is green."""
    found = await air.problems()
    return words in found if words else not found


async def _is_dropping(air: _Air, name: str) -> bool:
    """Whether packets of the channel are dropped: more waits than fits into memory."""
    publisher = air.live[name].publisher
    return publisher.bytes_sent - publisher.acknowledged > 20 * 1024 * 1024


async def run(bench: Bench) -> None:
    await asyncio.gather(_reserve(bench), _no_reserve(bench), _all_full(bench))
