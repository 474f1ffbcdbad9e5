"""The power goes, between any two writes to the disk, and all that was not synced is gone with it. Again and again."""

import asyncio
import contextlib
import random
import time
from pathlib import Path
from typing import Any

from tests.chaos.bench import Bench
from tests.support import clips
from tests.support.acknowledged import Comparison, Counted, compare, try_to_open
from tests.support.listing import Item
from tests.support.powercut_fs import CutDisk
from tests.support.process import Processes
from tests.support.recording import read_folder
from tests.support.relay import COMMAND, ApiError, Relay

CHANNELS = ("one", "two")
START_CHANGES = 150  # about as many as a first start makes
LIFE_CHANGES = 300  # some seconds of two publishers
READY_S = 40.0
PATIENCE_S = 25.0
TAIL_S = 1.0


class _Lives:
    """One disk, the relays that live on it one after the other, and everything they were sent and said."""

    def __init__(self, processes: Processes, folder: Path, seed: int) -> None:
        self.disk = CutDisk(processes, folder)
        self.chance = random.Random(seed)
        self.clip = clips.make(clips.H264)
        self.relay = Relay(
            processes,
            self.disk.path / "data",
            folder.name,
            ARCHIVE__SEGMENT_S=1,
            ARCHIVE__KEEP_AFTER_UPLOAD_S=5,
            ARCHIVE__RESERVE_PERCENT=0,
            ARCHIVE__RESERVE_BYTES=0,
            ARCHIVE__MANIFEST_EVERY_S=3,
        )
        self.publishers: dict[str, list[Counted]] = {name: [] for name in CHANNELS}
        self.sent_before_cut: list[tuple[str, list[Item]]] = []
        self.cuts = 0
        self.token = ""
        self.shown: dict[str, dict[str, Any]] = {}  # channels, once the API has told of them
        self.forgotten = 0
        self.stuck: list[str] = []  # what those starts said that needed a human

    async def life(self, *, early: bool) -> None:
        """Plug the disk in, start a relay, publish to it, and cut the power on the way: ``early``, at its start."""
        chance = self.chance
        await self.disk.plug_in()
        if early:
            await self.disk.cut_after(chance.randint(0, START_CHANGES), chance.getrandbits(32))
        stop = asyncio.Event()
        going: list[asyncio.Task[None]] = []
        try:
            if await self._start():
                with contextlib.suppress(ApiError, OSError):
                    await self._make_channels()
                    if not early:
                        await self.disk.cut_after(chance.randint(0, LIFE_CHANGES), chance.getrandbits(32))
                    going = await self._publish(stop)
                await self._until_cut()
                self._note_what_was_sent()
                await asyncio.sleep(chance.choice((0.0, 0.6)))  # a dead disk, and whatever the relay says meanwhile
        finally:
            assert self.relay.process is not None
            self.relay.process.kill()
            stop.set()
            await asyncio.gather(*going)
            for publishers in self.publishers.values():
                for publisher in publishers:
                    await publisher.abort()
        assert await self.disk.is_cut()
        self.cuts += 1
        await self.disk.pull_out()

    async def last(self) -> Comparison:
        """The power stays: what the archive holds in the end, against what was sent and acknowledged."""
        await self.disk.plug_in()
        whole = Comparison()
        if await self._start():
            for name, publishers in self.publishers.items():
                whole += compare(publishers, await self._archived(name))
            await self.relay.stop()
        await self.disk.pull_out()
        return whole

    @property
    def covered(self) -> int:
        """Messages acknowledged, of all publishers."""
        return sum(len(one.covered) for publishers in self.publishers.values() for one in publishers)

    # --- one relay ----------------------------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Start a relay and wait until it is ready; False when the power goes before, or when it never is."""
        relay = self.relay
        relay.process = relay.processes.start(COMMAND, "serve", name=relay.name, env=relay.env)
        until = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(ApiError, OSError):
                await relay.fetch("/readyz")
                await self._check_what_was_shown()
                return True
            if await self.disk.is_cut():
                return False
            if time.monotonic() > until or not relay.process.running:
                self.stuck.append(relay.process.tail())
                await self.disk.cut_after(0, 0)
                return False
            await asyncio.sleep(0.05)

    async def _check_what_was_shown(self) -> None:
        token = await asyncio.to_thread(lambda: self.relay.token)
        self.forgotten += self.token not in ("", token)
        self.token = token
        channels = (await self.relay.api("GET", "/channels"))["channels"]
        keys = {channel["name"]: channel["stream_key"] for channel in channels}
        self.forgotten += sum(keys.get(name) != channel["stream_key"] for name, channel in self.shown.items())

    async def _make_channels(self) -> None:
        there = {channel["name"]: channel for channel in (await self.relay.api("GET", "/channels"))["channels"]}
        for name in CHANNELS:
            if name not in self.shown:
                self.shown[name] = there.get(name) or await self.relay.add_channel(name)

    async def _publish(self, stop: asyncio.Event) -> list["asyncio.Task[None]"]:
        going = []
        for name, publishers in self.publishers.items():
            publisher = await try_to_open(self.relay.publish_url(self.shown[name]))
            if publisher is not None:
                publishers.append(publisher)
                going.append(asyncio.create_task(publisher.go_on(self.clip, stop)))
        return going

    async def _until_cut(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while not await self.disk.is_cut():
            if time.monotonic() > until:
                await self.disk.cut_after(0, self.chance.getrandbits(32))
            await asyncio.sleep(0.02)

    def _note_what_was_sent(self) -> None:
        for name, publishers in self.publishers.items():
            if publishers and publishers[-1].ended is None:
                self.sent_before_cut.append((name, list(publishers[-1].sent.items)))

    async def _archived(self, channel: str) -> list[Item]:
        """Every access unit in the channel's recordings, once all of them are complete and stored."""
        until = time.monotonic() + 120
        while True:
            rows = (await self.relay.api("GET", f"/recordings?channel={channel}"))["recordings"]
            folders = [self.disk.path / "data" / "archive" / channel / row["id"] for row in reversed(rows)]
            whole = all(row["state"] == "complete" and row["segments"] == row["segments_stored"] for row in rows)
            if whole and await asyncio.to_thread(_are_whole, folders):
                break
            assert time.monotonic() < until, f"{channel} is not complete: {rows}\n{self.relay.log[-4000:]}"
            await asyncio.sleep(0.2)
        found: list[Item] = []
        for folder in folders:
            found += (await asyncio.to_thread(read_folder, folder)).listing().items
        return found

    def tails_s(self, whole: Comparison) -> list[float]:
        """For each cut and publisher, how much media was sent before it and is not in the archive."""
        missing = {item.digest for item in whole.missing}
        tails = []
        for _, items in self.sent_before_cut:
            gone = [item.dts_ms for item in items if item.digest in missing]
            tails.append((max(gone) - min(gone)) / 1000 if gone else 0.0)
        return sorted(tails)


def _are_whole(folders: list[Path]) -> bool:
    playlists = [folder / "index.m3u8" for folder in folders]
    return all(path.exists() and "#EXT-X-ENDLIST" in path.read_text("utf-8") for path in playlists)


async def run(bench: Bench) -> None:
    """First starts that are cut short, each on a new disk; then one disk whose power goes many times."""
    lives: list[_Lives] = []
    whole = Comparison()
    seed = random.SystemRandom().getrandbits(32)
    try:
        for number in range(bench.times(12, 1)):
            lives.append(_Lives(bench.processes, bench.folder / f"first-{number}", seed + number))
            await lives[-1].life(early=True)
            whole += await lives[-1].last()
        lives.append(_Lives(bench.processes, bench.folder / "many", seed - 1))
        number = 0
        # Where a busy machine brings none of the few lives far enough for an acknowledgement, some more.
        while number < bench.times(50, 4) or (number < 12 and not lives[-1].covered):
            await lives[-1].life(early=number % 5 == 3)
            number += 1
        whole += await lives[-1].last()
    finally:
        for each in lives:
            each.disk.close()
    sent = sum(len(one.sent.items) for each in lives for publishers in each.publishers.values() for one in publishers)
    covered = sum(each.covered for each in lives)
    bench.figure("power cuts", sum(each.cuts for each in lives), f"any (seed {seed})", True)
    bench.figure("messages sent", sent, "any", True)
    bench.figure("messages acknowledged", covered, "> 0", covered > 0)
    bench.figure("acknowledged messages lost", "\n".join(whole.where) or 0, "0", not whole.lost)
    bench.figure("messages archived twice", whole.twice, "0", not whole.twice)
    bench.figure("messages nobody sent", whole.invented, "0", not whole.invented)
    bench.figure("messages out of order", whole.disordered, "0", not whole.disordered)
    stuck = [words for each in lives for words in each.stuck]
    bench.figure("starts that needed a human", len(stuck), "0" if not stuck else f"0\n{stuck[0]}", not stuck)
    forgotten = sum(each.forgotten for each in lives)
    bench.figure("keys and tokens forgotten", forgotten, "0", not forgotten)
    tails = lives[-1].tails_s(whole)
    worst = tails[min(len(tails) - 1, len(tails) * 99 // 100)] if tails else 0.0
    bench.timed("media not archived p99", f"{worst:.2f} s", f"≤ {TAIL_S} s", worst <= TAIL_S)
