"""Stores as relays meet them: a bucket that is not there yet, a server that never answers."""

import asyncio
import re
from pathlib import Path

from tests.support import clips
from tests.support.process import Processes, free_port, wait_for_port
from tests.support.publisher import Publisher
from tests.support.relay import COMMAND, ApiError, Relay
from tests.support.s3 import S3Server, serve


async def problems(relay: Relay) -> str:
    """What ``/readyz`` has to say; empty when it is green."""
    try:
        await relay.fetch("/readyz")
    except ApiError as error:
        return error.body
    return ""


async def until(relay: Relay, pattern: str) -> None:
    """Return once ``/readyz`` says what ``pattern`` matches."""
    async with asyncio.timeout(60):
        while True:
            if re.fullmatch(pattern, await problems(relay), re.DOTALL):
                return
            await asyncio.sleep(0.1)


async def test_a_bucket_that_does_not_exist_is_named_until_it_does(processes: Processes, tmp_path: Path) -> None:
    async with serve(processes, tmp_path) as server:
        settings = {**server.settings, "ARCHIVE__STORE": "s3://not-yet/archive"}
        relay = Relay(processes, tmp_path / "relay", **settings)
        doctor = relay.run("doctor")
        assert await doctor.wait(60) != 0
        said = " ".join(doctor.text().split())
        assert "the bucket not-yet does not exist; create it, or correct RELAY_ARCHIVE__STORE" in said
        relay.process = processes.start(COMMAND, "serve", name="relay", env=relay.env)
        await wait_for_port(relay.http_port, relay.process)
        await until(relay, ".*the bucket not-yet does not exist; create it, or correct RELAY_ARCHIVE__STORE.*")
        channel = await relay.add_channel("talk")
        async with Publisher(relay.publish_url(channel)) as publisher:
            await publisher.send(await asyncio.to_thread(clips.make, clips.LOAD), speed=None)
        server.client().create_bucket(Bucket="not-yet")
        await until(relay, "")
        found = await relay.recording("talk")
        await relay.stop()
        kept = S3Server(processes, tmp_path / "unused", "archive")
        kept.bucket, kept.endpoint = "not-yet", server.endpoint
        kept.access_key, kept.secret_key = server.access_key, server.secret_key
        stored = kept.read(f"talk/{found['id']}").listing()
        for track in ("video", "audio"):
            sent = [item.digest for item in publisher.sent.track(track)]
            assert [item.digest for item in stored.track(track)] == sent


async def test_a_store_that_never_answers_holds_up_no_stop(processes: Processes, tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    asked = asyncio.Event()
    port = free_port()
    async with await asyncio.start_server(silent, "127.0.0.1", port), serve(processes, tmp_path) as server:
        settings = {**server.settings, "ARCHIVE__S3_ENDPOINT": f"http://127.0.0.1:{port}"}
        relay = Relay(processes, tmp_path / "relay", **settings)
        await relay.start()
        async with asyncio.timeout(30):
            await asked.wait()
        channel = await relay.add_channel("talk")
        async with Publisher(relay.publish_url(channel)) as publisher:
            await publisher.send(await asyncio.to_thread(clips.make, clips.LOAD), speed=None)
        await relay.stop(within=20)
