"""Recordings going: deleted by command, or by their channel's limits, from the bucket, the spool and the catalog."""

import asyncio
import time
from pathlib import Path

from tests.e2e.conftest import Start
from tests.e2e.test_cli import run, run_json
from tests.support import clips, s3
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay


async def record(relay: Relay) -> str:
    """The id of a new finished and stored recording of channel ``talk``."""
    channel = await relay.channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    before = len((await relay.api("GET", "/recordings?channel=talk"))["recordings"])
    async with Publisher(relay.publish_url(channel)) as publisher:
        await publisher.send(clip, speed=None)
    async with asyncio.timeout(40):
        while True:
            if len((await relay.api("GET", "/recordings?channel=talk"))["recordings"]) > before:
                break
            await asyncio.sleep(0.1)
    return str((await relay.recording("talk"))["id"])


async def left(relay: Relay, expected: list[str], within: float = 40) -> None:
    """Wait until the command line lists these recordings, oldest first, and no others."""
    until = time.monotonic() + within
    while True:
        found = [item["id"] for item in (await run_json(relay, "recording", "list"))["recordings"]][::-1]
        if found == expected:
            return
        assert time.monotonic() < until, f"{found} where {expected} should be left"
        await asyncio.sleep(0.2)


async def stored(server: s3.S3Server, relay: Relay, expected: list[str], within: float = 40) -> None:
    """Wait until the bucket holds these recordings, playable, and no others, and the spool nothing of any other."""
    until = time.monotonic() + within
    while True:
        keys = await asyncio.to_thread(server.keys)
        found = {key.split("/")[1] for key in keys if key.startswith("talk/")}
        spooled = {path.name for path in (relay.data / "spool").glob("*/*")}
        playable = all(f"talk/{name}/index.m3u8" in keys for name in expected)
        if found == set(expected) and playable and spooled <= found:
            return
        assert time.monotonic() < until, f"in the bucket: {keys}, in the spool: {spooled}"
        await asyncio.sleep(0.2)


async def test_what_is_deleted_is_gone_and_the_oldest_goes_first(
    start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    async with s3.serve(processes, tmp_path) as server:
        relay = await start_relay(**server.settings)
        await relay.add_channel("talk")
        recordings = [await record(relay) for _ in range(4)]
        await left(relay, recordings)
        await stored(server, relay, recordings)
        gone = recordings.pop(1)
        assert f"{gone} is being deleted" in await run(relay, "recording", "delete", gone, "--yes")
        await left(relay, recordings)
        await stored(server, relay, recordings)
        assert f"no recording {gone}" in await run(relay, "recording", "delete", gone, "--yes", code=1)

        size = (await relay.recording("talk"))["bytes"]
        limit = f"{2.5 * size / 1e9:.6f}"  # room for two of the three
        shown = await run(relay, "channel", "archive", "talk", "--keep-gb", limit, "--keep-days", "1")
        assert "kept for 1 days or" in shown
        await left(relay, recordings[1:])
        await stored(server, relay, recordings[1:])
        whole = await asyncio.to_thread(server.read, f"talk/{recordings[-1]}")
        assert whole.duration_s > 9

        await asyncio.sleep(10)  # sent faster than it lasts, it ends later than now
        await run(relay, "channel", "archive", "talk", "--keep-gb", "0", "--keep-days", "0.00001")
        await left(relay, [])
        await stored(server, relay, [])
