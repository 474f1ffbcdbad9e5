"""Evidence on a real relay and a real S3 server: verified by id, folder and address, spoiled, lost and rebuilt."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

from tests.cli.commands import RELAY
from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.listing import Listing, assert_same
from tests.support.probe import decode, probe
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import COMMAND, Relay
from tests.support.s3 import S3Server, serve

SETTINGS = {"ARCHIVE__SEGMENT_S": "1"}


async def command(relay: Relay, *words: str, **environment: str) -> tuple[int, str]:
    """(exit code, everything said) of a command on the relay's machine."""
    process = relay.processes.start(COMMAND, *words, name="command", env={**relay.env, "COLUMNS": "200", **environment})
    return await process.wait(120), process.text()


async def record(relay: Relay) -> tuple[Listing, dict[str, Any]]:
    """One recording of channel ``talk``, complete, with its final manifest in the store."""
    channel = await relay.add_channel("talk")
    async with Publisher(relay.publish_url(channel)) as publisher:
        await publisher.send(await asyncio.to_thread(clips.make, clips.H264_B), speed=4.0)
    shown = await relay.recording("talk")
    until = time.monotonic() + 60  # the papers follow the last segment
    while (found := await command(relay, "verify", shown["id"], "--json"))[0] != 0 or not json.loads(found[1])["final"]:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.2)
    return publisher.sent, shown


def spoil(server: S3Server, key: str) -> bytes:
    """Flip one bit of an object, of the same length; what it was."""
    before = server.object(key)
    data = bytearray(before)
    data[len(data) // 3] ^= 4
    put(server, key, bytes(data))
    return before


def objects(server: S3Server) -> dict[str, bytes]:
    """Everything of channel ``talk``, by key."""
    keys = server.keys()
    return {key: server.object(key) for key in keys if key.startswith("talk/")}


def put(server: S3Server, key: str, data: bytes) -> None:
    server.client().put_object(Bucket=server.bucket, Key=f"{server.prefix}/{key}", Body=data)


async def test_a_recording_is_verified_wherever_it_lies(
    start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    async with serve(processes, tmp_path) as server:
        relay = await start_relay(**SETTINGS, **server.settings)
        _, shown = await record(relay)
        folder = f"talk/{shown['id']}"
        address = f"s3://{server.bucket}/{server.prefix}/{folder}"
        copy = tmp_path / "copy"
        copy.mkdir()
        for key, data in objects(server).items():
            (copy / key.rpartition("/")[2]).write_bytes(data)
        for target in (shown["id"], str(copy), address, f"{address}/"):
            code, said = await command(relay, "verify", target)
            assert (code, f"GOOD: {target} is what was recorded" in said) == (0, True), said
        # From another machine: only the address, and the public key kept there.
        code, pem = await command(relay, "evidence-key")
        assert code == 0
        (tmp_path / "key.pem").write_text(pem[: pem.index("key ", pem.index("END"))])
        options = ("--s3-endpoint", server.endpoint, "--s3-region", "us-east-1", "--s3-path-style")
        process = processes.start(
            RELAY, "verify", address, *options, "--key", tmp_path / "key.pem", name="auditor",
            env={"RELAY_DATA_DIR": str(tmp_path / "none")},
        )  # fmt: skip
        assert await process.wait() == 0, process.text()

        before = spoil(server, f"{folder}/000002.m4s")
        for target in (shown["id"], address):
            code, said = await command(relay, "verify", target)
            assert (code, "BAD: segment 000002.m4s: its content was changed" in said) == (1, True), said
        put(server, f"{folder}/000002.m4s", before)
        last = max(path.name for path in copy.glob("*.m4s"))
        server.client().delete_object(Bucket=server.bucket, Key=f"{server.prefix}/{folder}/{last}")
        code, said = await command(relay, "verify", shown["id"])
        assert (code, f"BAD: segment {last}: it is missing" in said) == (1, True), said
        code, said = await command(relay, "verify", str(copy))
        assert code == 0, "the copy is as it was"

        stranger = await start_relay("stranger")
        code, said = await command(stranger, "verify", str(copy))
        assert (code, "it is signed with key" in said, "with --key" in said) == (2, True, True), said
        code, said = await command(relay, "verify", "s3://no-such-bucket/archive/talk/x")
        assert (code, "the bucket no-such-bucket does not exist" in said) == (2, True), said
        code, said = await command(relay, "verify", f"s3://{server.bucket}/nothing/here")
        assert (code, "there is no manifest.json in s3://" in said) == (2, True), said


async def lose_everything(relay: Relay) -> None:
    """Stop the relay and lose its database and spool, but not its keys."""
    await relay.stop()
    for path in relay.data.glob("relay.db*"):
        path.unlink()
    shutil.rmtree(relay.data / "spool", ignore_errors=True)


async def check_playback(relay: Relay, sent: Listing, shown: dict[str, Any], *, exact: bool) -> None:
    """The relay lists the recording as it was, and ffmpeg plays all of it through the relay's own link."""
    [found] = (await relay.api("GET", "/recordings"))["recordings"]
    if exact:
        assert {**found, "started_at": ""} == {**shown, "started_at": ""}
    assert (found["id"], found["state"], found["segments"]) == (shown["id"], "complete", shown["segments"])
    assert found["segments_stored"] == found["segments"]
    assert abs(found["duration_s"] - shown["duration_s"]) < 0.05 * shown["segments"]
    link = await relay.api("POST", f"/recordings/{shown['id']}/link")
    tracks = await probe(link["playlist_url"])
    for kind, track in tracks.items():
        assert len(track.dts) == len(sent.track(kind))
    await decode(link["playlist_url"])


async def test_a_catalog_lost_with_its_spool_is_rebuilt_from_the_bucket(
    start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    async with serve(processes, tmp_path) as server:
        relay = await start_relay(**SETTINGS, **server.settings)
        sent, shown = await record(relay)
        shown = await relay.recording("talk")
        code, said = await command(relay, "catalog", "rebuild")
        assert (code, "a relay runs on" in said) == (1, True), said
        before = objects(server)

        await lose_everything(relay)
        code, said = await command(relay, "catalog", "rebuild")
        assert (code, "1 rebuilt" in said) == (0, True), said
        assert objects(server) == before, "the store is not to be changed"
        await relay.start()
        await check_playback(relay, sent, shown, exact=True)
        code, said = await command(relay, "verify", shown["id"])
        assert code == 0, said

        # The same with no manifest: from playlist and segments.
        server.client().delete_object(Bucket=server.bucket, Key=f"{server.prefix}/talk/{shown['id']}/manifest.json")
        await lose_everything(relay)
        code, said = await command(relay, "catalog", "rebuild", "--json")
        [outcome] = json.loads(said)["recordings"]
        assert (code, outcome["what"]) == (0, "rebuilt"), said
        assert outcome["notes"] == ["it has no manifest: rebuilt from its playlist and segments"]
        await relay.start()
        await check_playback(relay, sent, shown, exact=False)
        assert_same(sent, server.read(f"talk/{shown['id']}").listing(), "archive")
        await relay.stop()
