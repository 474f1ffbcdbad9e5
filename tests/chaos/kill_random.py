"""SIGKILL at a random moment while encoders send; the relay is started again and half of the encoders come back."""

import asyncio
import random
import time

from tests.chaos.bench import Bench
from tests.chaos.house import House
from tests.support.ledger import Encoder, tail_s
from tests.support.listing import Listing

ENCODERS = 4
BACK_MS = 1500  # of media, after the restart, in real time
SPEED = 1.0  # a tail is measured in real time


async def run(bench: Bench) -> None:
    """Kill after kill on one data directory. A kill's recordings are compared before the next."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    house = House(bench)
    relay = house.relay
    await relay.start()
    tails: list[float] = []
    kills = bench.times(100, 2)
    for kill in range(kills):
        encoders = [await house.encoder(f"kill{kill}-{number}") for number in range(ENCODERS)]
        sending = [asyncio.create_task(encoder.publish(SPEED)) for encoder in encoders]
        await asyncio.sleep(chance.uniform(0.2, bench.times(8, 4)))
        cut_at = time.monotonic()
        relay.kill()
        await asyncio.gather(*sending)
        await relay.start()
        await asyncio.sleep(chance.choice((0.0, 0.0, 1.0)))  # some are back before what was left behind is packaged
        await asyncio.gather(*(_come_back(encoder) for encoder in encoders[::2]))
        for number, encoder in enumerate(encoders):
            if encoder.attempts[0].items:
                tails.append(await _compare(house, f"kill{kill}-{number}", encoder, cut_at))
    await relay.stop()
    tails.sort()
    p99 = tails[min(len(tails) - 1, int(len(tails) * 0.99))]
    bench.figure("kills (seed)", f"{kills} ({seed})", "all", True)
    house.findings.show(bench)
    bench.timed("unacknowledged tail lost, p50 / p99 / most", _seconds(tails, p99), "p99 ≤ 1.0 s", p99 <= 1.0)


async def _come_back(encoder: Encoder) -> None:
    await encoder.publish(SPEED, BACK_MS)
    encoder.attempts[-1].whole = True


async def _compare(house: House, channel: str, encoder: Encoder, cut_at: float) -> float:
    """Hold one channel against what was sent; its tail in seconds."""
    got: Listing = await house.compare(channel, encoder.attempts, probed=1)
    return tail_s(encoder.attempts[0], got, cut_at)


def _seconds(tails: list[float], p99: float) -> str:
    return f"{tails[len(tails) // 2]:.2f} / {p99:.2f} / {tails[-1]:.2f} s"
