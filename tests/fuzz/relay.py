"""A real relay with everything in it that the API can name, for ``tests.fuzz.api``."""

import asyncio
from pathlib import Path

from tests.fuzz.api import Attack, Outcome
from tests.support import clips
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay

ROOM_BYTES = 200 * 1024 * 1024


async def attack(processes: Processes, folder: Path, cases: int) -> Outcome:
    """Start a relay, record something, and make ``cases`` requests to it. It must end quietly."""
    relay = Relay(processes, folder / "data", OUTBOUND__ALLOW_PRIVATE="false")
    await relay.start()
    channel = await relay.channel("demo")  # made at the first start
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Publisher(relay.publish_url(channel)) as publisher:
        await publisher.send(clip, until_ms=2500)
    recording = await relay.recording("demo")
    before = relay.memory()
    against = Attack(f"http://127.0.0.1:{relay.http_port}", relay.token, recording=recording["id"])
    outcome = await asyncio.to_thread(against.run, cases)
    if relay.memory() - before > ROOM_BYTES:
        outcome.wrong.append(f"the relay grew by {(relay.memory() - before) >> 20} MiB")
    await relay.fetch("/healthz")
    await relay.stop()
    return outcome
