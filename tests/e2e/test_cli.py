"""The command line against a running relay: every command, tables and JSON, and errors that say what to do."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from tests.support import clips
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import COMMAND, Relay
from tests.support.sink import Sink


async def run(relay: Relay, *words: str, code: int = 0) -> str:
    """What `relay WORDS` prints on standard output; on standard error too when it should fail."""
    process = relay.run(*words)
    ended = await process.wait(30)
    assert ended == code, process.tail()
    assert "Traceback" not in process.text(), process.tail()
    return process.text() if code else process.output.read_text("utf-8")


async def run_json(relay: Relay, *words: str) -> Any:
    return json.loads(await run(relay, *words, "--json"))


async def test_channels_and_destinations(relay: Relay) -> None:
    added = await run(relay, "channel", "add", "talk")
    shown = await run_json(relay, "channel", "show", "talk")
    relay.keys.add(shown["stream_key"])
    assert shown["name"] == "talk"
    assert shown["state"] == "offline"
    assert shown["stream_key"] in added, "whoever adds a channel needs its key"
    names = {channel["name"] for channel in (await run_json(relay, "channel", "list"))["channels"]}
    assert names == {"demo", "talk"}
    assert "talk" in await run(relay, "channel", "list")

    await run(relay, "destination", "add", "talk", "tube", "--platform", "youtube", "--key", "tube-key-000001")
    await run(relay, "destination", "add", "talk", "own", "--url", "rtmp://127.0.0.1:9/app", "--key", "own-key-0001")
    relay.keys |= {"tube-key-000001", "own-key-0001"}
    listed = await run(relay, "destination", "list", "talk")
    assert "tube" in listed
    assert "own" in listed
    assert "tube-key-000001" not in listed
    await run(relay, "destination", "disable", "talk", "tube")
    assert (await relay.destination("talk", "tube"))["state"] == "disabled"
    await run(relay, "destination", "enable", "talk", "tube")
    assert (await relay.destination("talk", "tube"))["state"] == "idle"
    await run(relay, "destination", "remove", "talk", "tube")
    assert [item["name"] for item in (await relay.channel("talk"))["destinations"]] == ["own"]

    await run(relay, "channel", "rotate-key", "talk")
    rotated = await run_json(relay, "channel", "show", "talk")
    relay.keys.add(rotated["stream_key"])
    assert rotated["stream_key"] != shown["stream_key"]
    await run(relay, "channel", "remove", "talk")
    assert {channel["name"] for channel in (await run_json(relay, "channel", "list"))["channels"]} == {"demo"}


async def test_errors_say_what_to_do(relay: Relay, processes: Processes, tmp_path: Path) -> None:
    assert "nowhere" in await run(relay, "channel", "show", "nowhere", code=1)
    assert "a-z" in await run(relay, "channel", "add", "Not A Name", code=1)
    await run(relay, "channel", "add", "talk")
    assert "talk" in await run(relay, "channel", "add", "talk", code=1)
    assert "rtmp://" in await run(relay, "destination", "add", "talk", "x", "--url", "gopher://x/y", code=1)
    away = processes.start(
        COMMAND, "channel", "list", name="away", env={**relay.env, "RELAY_HTTP__LISTEN": "127.0.0.1:9"}
    )
    assert await away.wait(30) == 1, away.tail()
    assert "scripts/start" in away.text(), away.tail()
    assert "Traceback" not in away.text()


async def test_apply_loads_channels_and_destinations(relay: Relay, tmp_path: Path) -> None:
    """What the file says is what is there afterwards, and a second time changes nothing."""
    document = tmp_path / "channels.toml"
    document.write_text(
        '[[channels]]\nname = "morning"\n\n'
        '[[channels.destinations]]\nname = "tube"\nplatform = "youtube"\nkey = "tube-key-000002"\n\n'
        '[[channels]]\nname = "evening"\n',
        "utf-8",
    )
    relay.keys.add("tube-key-000002")
    await run(relay, "apply", str(document))
    morning = await relay.channel("morning")
    assert [item["name"] for item in morning["destinations"]] == ["tube"]
    assert (await relay.channel("evening"))["destinations"] == []
    await run(relay, "apply", str(document))
    assert (await relay.channel("morning"))["stream_key"] == morning["stream_key"]
    document.write_text('[[channels]]\nname = "UPPER"\n', "utf-8")
    assert "channels.0.name" in await run(relay, "apply", str(document), code=1)


async def test_recordings_are_listed(relay: Relay) -> None:
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Sink() as sink:
        await relay.add_destination("talk", "sink", sink.url, "sink-key-0001")
        async with Publisher(relay.publish_url(channel)) as publisher:
            await publisher.send(clip, speed=4.0)
    recording = await relay.recording("talk")
    listed = (await run_json(relay, "recording", "list"))["recordings"]
    assert [item["id"] for item in listed] == [recording["id"]]
    shown = await run_json(relay, "recording", "show", recording["id"])
    assert shown["state"] == "complete"
    assert abs(shown["duration_s"] - 10) < 0.2
    assert recording["id"] in await run(relay, "recording", "list")


async def test_doctor_is_content_with_a_healthy_place(relay: Relay, tmp_path: Path) -> None:
    """Beside a running relay the ports are its own; with a foreign program on one, doctor says which."""
    text = await run(relay, "doctor")
    for word in ("disk", "ffmpeg", "store", "clock"):
        assert word in text.lower(), text
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        await relay.stop()
        relay.settings["RTMP__LISTEN"] = f"127.0.0.1:{port}"
        assert str(port) in await run(relay, "doctor", code=1)
