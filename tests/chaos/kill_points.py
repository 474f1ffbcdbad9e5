"""SIGKILL at each step by which media becomes safe, before and after it, also while an earlier kill is made good."""

import asyncio
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import launch
from tests.chaos.bench import Bench
from tests.chaos.house import House
from tests.support.ledger import Encoder
from tests.support.process import wait_for_port
from tests.support.relay import ApiError

SPEED = 4.0
BACK_MS = 5000  # of media, before goodbye
RETURNING = ("catalog: gap", "catalog: complete")  # needs an encoder that comes back
AT_START = 0.3  # so often the point is armed before the start, so that recovery itself is killed


@dataclass
class Lives:
    """One data directory through many lives of a relay, each of which ends at a point of its own.

    An encoder (``fresh``) sends until its relay dies, comes back to a later one (``cut``), says goodbye if that lives
    long enough, and is compared with the archive (``over``) in a life that has still all its time.
    """

    house: House
    chance: random.Random
    arm: Path
    cut: list[tuple[str, Encoder]] = field(default_factory=list)
    over: list[tuple[str, Encoder]] = field(default_factory=list)
    compared: list[tuple[str, Encoder]] = field(default_factory=list)
    deleted: list[tuple[str, Encoder, dict[str, Any]]] = field(default_factory=list)
    sending: list[asyncio.Task[None]] = field(default_factory=list)
    number: int = 0
    kills: int = 0
    at_start: int = 0
    unreached: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # of recordings deleted

    async def live(self, step: str, when: str, speed: float = SPEED, at_start: float = AT_START) -> None:
        """Start, work, and die at the point; ``at_start``: how likely that comes before any work is done."""
        relay = self.house.relay
        if step in RETURNING:
            await self.live("fdatasync", "after", 1.0, 0.0)  # faster media would reach beyond the gap
        self.number += 1
        early = self.chance.random() < at_start and bool(self.deleted if step in launch.DELETING else self.cut)
        count = 1 if early else self.chance.randint(1, launch.STEPS[step].most)
        relay.command = (sys.executable, Path(launch.__file__), step, when, str(count), self.arm)
        if early:
            self.arm.touch()
        self.sending = []
        if not await self._started():
            self.at_start += 1
        else:
            if not early:
                await self.settle()
            try:
                await self._work(step, speed)
            except (ApiError, OSError):
                # It died meanwhile, and what was asked is not done: it may, from when it is armed.
                assert early or self.arm.exists(), f"{step}: {relay.log[-4000:]}"
                self.at_start += early
        await self._dead(f"{when} {step}")
        await asyncio.gather(*self.sending)
        self.arm.unlink(missing_ok=True)

    async def _started(self) -> bool:
        """Whether the relay was ready before it died."""
        relay = self.house.relay
        try:
            await relay.start()
        except AssertionError:
            if relay.process is None or relay.process.popen.poll() != -signal.SIGKILL:
                raise
            return False
        return True

    async def _work(self, step: str, speed: float) -> None:
        """Encoders that came back, a new one, and a recording to delete where that is the point."""
        name = f"life{self.number}"
        encoder = await self.house.encoder(name)
        if step in launch.DELETING and not self.compared:
            await self._record()
        if launch.STEPS[step].most == 1:
            self.arm.touch()  # it may come at once, and not again
        back, self.cut = self.cut, [(name, encoder)]
        self.over += back
        self.sending = [asyncio.create_task(encoder.publish(speed))]
        self.sending += [asyncio.create_task(other.publish(SPEED, BACK_MS)) for _, other in back]
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        self.arm.touch()
        if step in launch.DELETING and self.compared:
            channel, other = self.compared.pop(0)
            for shown in await self.house.recordings(channel):
                self.deleted.append((channel, other, shown))
                try:
                    await self.house.relay.api("DELETE", f"/recordings/{shown['id']}")
                except OSError:
                    break  # it died before it could answer

    async def _record(self) -> None:
        """A recording that may be deleted."""
        name = f"short{self.number}"
        encoder = await self.house.encoder(name)
        await encoder.publish(SPEED, BACK_MS)
        encoder.attempts[-1].whole = True
        await self.house.compare(name, encoder.attempts)
        self.compared.append((name, encoder))

    async def _dead(self, point: str) -> None:
        process = self.house.relay.process
        assert process is not None
        try:
            code = await process.wait(40)
        except AssertionError:
            self.unreached.append(point)
            process.kill()
            return
        assert code == -signal.SIGKILL, f"{point}: {process.tail()}"
        self.kills += 1

    async def settle(self) -> None:
        """Compare what is over, and see that what was deleted is gone or was never touched."""
        over, self.over = self.over, []
        for channel, encoder in over:
            await self.house.compare(channel, encoder.attempts)
            if await self.house.recordings(channel):
                self.compared.append((channel, encoder))
        deleted, self.deleted = self.deleted, []
        for channel, encoder, shown in deleted:
            if await self._gone(shown):
                spooled = self.house.relay.data / "spool" / channel / shown["id"]
                self.left += [str(path) for path in (self.house.stored(shown), spooled) if path.exists()]
            else:
                await self.house.compare(channel, encoder.attempts)

    async def _gone(self, shown: dict[str, Any], within: int = 200) -> bool:
        """Whether the recording leaves the catalog; False where it is complete as before."""
        for _ in range(within):
            try:
                now = await self.house.relay.api("GET", f"/recordings/{shown['id']}")
            except ApiError as error:
                if error.status == 404:
                    return True
                raise
            if now["state"] == "complete":
                return False
            await asyncio.sleep(0.1)
        raise AssertionError(f"still being deleted: {now}")


async def run(bench: Bench) -> None:
    """Every point in turn, 20 times over; the short form takes some of them."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    points = chance.sample(launch.POINTS, 4) if bench.quick else launch.POINTS * 20
    chance.shuffle(points)
    await _lives(bench, chance, points, seed)


async def _lives(bench: Bench, chance: random.Random, points: list[tuple[str, str]], seed: int) -> None:
    house = House(bench, ARCHIVE__SEGMENT_S=1)
    lives = Lives(house, chance, bench.folder / "arm")
    for step, when in points:
        await lives.live(step, when)
    house.relay.command = (house.relay.command[0], "-m", "relay")
    await house.relay.start()
    lives.over += lives.cut
    await lives.settle()
    await wait_for_port(house.relay.rtmp_port)
    await house.relay.stop()
    bench.figure(
        "kills at a point, of them in recovery (seed)", f"{lives.kills}, {lives.at_start} ({seed})", "all", True
    )
    bench.figure("points not reached", ", ".join(lives.unreached) or 0, "0", not lives.unreached)
    bench.figure("left of deleted recordings", "; ".join(lives.left[:3]) or 0, "0", not lives.left)
    house.findings.show(bench)
