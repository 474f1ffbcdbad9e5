"""Exports and running recordings in a real browser and in ffmpeg, by signed links, from a relay that is a process."""

import asyncio
from pathlib import Path
from typing import Any

import m3u8
import pytest

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.chromium import play
from tests.support.clips import Clip
from tests.support.probe import decode, probe
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay

# What hls.js calls waiting for the next segment, and beginning with the first picture a frame or two after 0.
WAITS = {"bufferStalledError", "bufferNudgeOnStall", "bufferSeekOverHole"}
CLIPS = [clips.H264_B, clips.AV1, clips.AUDIO_ONLY]


async def published(relay: Relay, clip: Path, *, gap_ms: int = 0) -> dict[str, Any]:
    """A finished recording of a clip; with ``gap_ms``, of the clip twice with a hole between."""
    channel = await relay.add_channel("talk")
    async with Publisher(relay.publish_url(channel)) as publisher:
        await publisher.send(clip, speed=8.0)
        if gap_ms:
            length_ms = max(item.dts_ms for item in publisher.sent.items)
            await publisher.send(clip, speed=8.0, offset_ms=length_ms + gap_ms)
    return await relay.recording("talk")


async def link(relay: Relay, recording: str, key: str) -> str:
    answer = await relay.api("POST", f"/recordings/{recording}/link")
    return str(answer[key])


@pytest.mark.parametrize("clip", CLIPS, ids=[clip.name for clip in CLIPS])
async def test_a_browser_plays_an_export_to_its_end(
    relay: Relay, processes: Processes, tmp_path: Path, clip: Clip
) -> None:
    """Straight from the signed link, over a gap: every picture, to the end, as long as what was sent."""
    source = await asyncio.to_thread(clips.make, clip)
    recording = await published(relay, source, gap_ms=3000)
    address = await link(relay, recording["id"], "export_url")
    told = await play(processes, tmp_path, address)
    assert (told["what"], told["errors"]) == ("ended", [])
    length_s = 2 * clip.seconds
    assert told["time"] == pytest.approx(length_s, abs=0.2)
    assert float(told["duration"]) == pytest.approx(length_s, abs=0.2)
    assert told["sound"] > 50_000
    if clip.video:
        assert (told["width"], told["height"]) == (clip.width, clip.height)
        assert told["frames"] >= 0.9 * length_s * 30, "but for those dropped to keep up"
    await decode(address)


async def test_a_growing_playlist_plays_while_it_is_recorded(
    start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    """From its first segment to the end that comes later, in ffmpeg and in the console's player, losing nothing."""
    relay = await start_relay(ARCHIVE__SEGMENT_S=2)
    clip = await asyncio.to_thread(clips.make, clips.H264_B)
    channel = await relay.add_channel("talk")
    async with Publisher(relay.publish_url(channel)) as publisher:
        sending = asyncio.create_task(publisher.send(clip))
        address = await _growing(relay)
        playing = asyncio.create_task(play(processes, tmp_path, address, rate=1.0))
        words = [clips.new_ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", "-xerror", "-live_start_index", "0"]
        copy = processes.start(*words, "-i", address, "-c", "copy", tmp_path / "copy.mp4", name="ffmpeg")
        await sending
    await copy.done(60)
    assert copy.text() == ""
    for kind, track in (await probe(tmp_path / "copy.mp4")).items():
        assert len(track.dts) == len(publisher.sent.track(kind))
    told = await playing
    assert told["what"] == "ended", told
    assert set(told["errors"]) <= WAITS, told
    assert told["frames"] >= 0.9 * clips.SECONDS * 30
    assert told["time"] == pytest.approx(clips.SECONDS, abs=0.3)


async def _growing(relay: Relay) -> str:
    """The address of the playlist of a recording that has two segments and goes on."""
    async with asyncio.timeout(30):
        while True:
            found = (await relay.api("GET", "/recordings?channel=talk"))["recordings"]
            if found and found[0]["segments"] >= 2:
                break
            await asyncio.sleep(0.1)
    text = (await relay.fetch(f"/api/v1/recordings/{found[0]['id']}/index.m3u8", token=relay.token)).decode()
    playlist = m3u8.loads(text)
    assert (playlist.playlist_type, playlist.is_endlist) == ("event", False)
    return await link(relay, found[0]["id"], "playlist_url")


async def test_stopping_the_relay_ends_an_export_quietly(relay: Relay) -> None:
    """Somebody downloads slowly while the relay is stopped: it stops in time, and its log has no traceback."""
    source = await asyncio.to_thread(clips.make, clips.H264)
    recording = await published(relay, source, gap_ms=1000)
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.http_port, limit=4096)
    path = f"/api/v1/recordings/{recording['id']}/export.mp4"
    for _ in range(4):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {relay.token}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await relay.stop()
    writer.transport.abort()
