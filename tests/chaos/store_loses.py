"""A store that loses its newest objects behind the relay's back: they come back before the local copies go."""

import asyncio
import time
from pathlib import Path

from tests.chaos.bench import Bench
from tests.chaos.events import Events
from tests.support.relay import Relay
from tests.support.s3 import S3Server, serve


async def run(bench: Bench) -> None:
    keep_s = bench.times(150, 5)
    async with serve(bench.processes, bench.folder) as server:
        settings = {**server.settings, "ARCHIVE__SEGMENT_S": 1, "ARCHIVE__KEEP_AFTER_UPLOAD_S": keep_s}
        relay = Relay(bench.processes, bench.folder / "relay", **settings)
        await relay.start()
        events = Events(relay, bench.times(10, 2))
        for _ in range(bench.times(6, 1)):
            await events.publish(bench.times(30, 8))
            await asyncio.sleep(bench.times(20, 0))
        await events.stored()
        before = await asyncio.to_thread(server.keys)
        lost = await asyncio.to_thread(
            _lose, server, relay.data / "spool", keep_s * 0.5 if bench.quick else keep_s * 0.8
        )
        wrong = len(await events.wrong(server, within=0))  # before the relay has put them back
        bench.figure("objects deleted behind the relay's back", f"{len(lost)} of {len(before)}", "> 0", wrong > 0)
        started = time.monotonic()
        left = await _cleared(relay, keep_s * 3 + 90)
        bench.figure(
            "local copies gone after", f"{time.monotonic() - started:.0f} s", "all of them, once safe", not left
        )
        missing = sorted(set(before) - set(await asyncio.to_thread(server.keys)))
        bench.figure("objects missing then", len(missing), "0", not missing)
        wrong = len(await events.wrong(server))
        bench.figure("events missing or wrong then", wrong, "0", wrong == 0)
        counted = (await relay.metrics())["relay_archive_lost_in_store_total"]
        bench.figure("lost objects the relay has noticed", round(counted), "> 0", counted > 0)
        await relay.stop()


def _lose(server: S3Server, spool: Path, seconds: float) -> list[str]:
    """Delete what was stored within the last ``seconds``, playlists and manifests too; the keys."""
    since = time.time() - seconds
    young = [path for path in spool.glob("*/*/*") if path.is_file() and path.stat().st_mtime >= since]
    keys = {path.relative_to(spool).as_posix() for path in young}
    folders = {key.rpartition("/")[0] for key in keys}
    kept = server.keys()
    papers = [key for key in kept if key.endswith((".m3u8", ".json")) and key.rpartition("/")[0] in folders]
    lost = sorted(keys | set(papers))
    client = server.client()
    for key in lost:
        client.delete_object(Bucket=server.bucket, Key=f"{server.prefix}/{key}")
    return lost


async def _cleared(relay: Relay, within: float) -> list[Path]:
    """What is left in the spool once it is empty, or after ``within`` seconds."""
    until = time.monotonic() + within
    while True:
        left = [path for path in (relay.data / "spool").glob("*/*/*") if path.is_file()]
        if not left or time.monotonic() > until:
            return left
        await asyncio.sleep(0.2)
