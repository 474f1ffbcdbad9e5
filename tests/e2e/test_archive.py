"""Recordings as other programs see them: every segment clean, the playlist whole, from a directory and a bucket."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.listing import Item, Listing, assert_same
from tests.support.probe import decode, probe
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.recording import Part, Recording, read_folder
from tests.support.relay import ApiError, Relay

CLIPS: list[tuple[str, Callable[[], Path]]] = [
    ("h264", lambda: clips.make(clips.H264_B)),
    ("hevc", lambda: clips.make(clips.HEVC)),
    ("av1", lambda: clips.make(clips.AV1)),
    ("audio-only", lambda: clips.make(clips.AUDIO_ONLY)),
    ("video-only", lambda: clips.make(clips.VIDEO_ONLY)),
    ("resized", clips.make_resized),
]


async def record(relay: Relay, make: Callable[[], Path], speed: float) -> tuple[Listing, dict[str, object]]:
    """Publish a clip to a new channel ``talk``; what was sent and the finished recording."""
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(make)
    async with Publisher(relay.publish_url(channel)) as publisher:
        await publisher.send(clip, speed=speed)
    return publisher.sent, await relay.recording("talk")


def media_s(sent: Listing) -> tuple[float, float]:
    """(length, one frame) in seconds of the pictures, or of the sound where there are none."""
    items = sent.track("video") or sent.track("audio")
    steps = sorted(later.dts_ms - earlier.dts_ms for earlier, later in pairwise(items))
    step = steps[len(steps) // 2] / 1000
    shown = [(item.dts_ms + item.cts_ms) / 1000 for item in items]
    return max(shown) - min(shown) + step, step


async def check(recording: Recording, shown: dict[str, object], sent: Listing, folder: Path) -> None:
    """Every promise about a finished recording."""
    assert_same(sent, recording.listing(), "archive")
    assert "#EXT-X-PROGRAM-DATE-TIME:" in recording.playlist
    assert recording.playlist.rstrip().endswith("#EXT-X-ENDLIST")
    assert shown["segments"] == shown["segments_stored"] == len(recording.parts)
    length_s, frame_s = media_s(sent)
    assert recording.duration_s == pytest.approx(length_s, abs=frame_s + 0.002)
    assert shown["duration_s"] == pytest.approx(length_s, abs=frame_s + 0.002)
    assert shown["gap_s"] == 0
    assert shown["bytes"] >= sum(len(part.data) for part in recording.parts)
    has_video = bool(sent.track("video"))
    for number, part in enumerate(recording.parts):
        path = folder / f"segment-{number}.mp4"
        path.write_bytes(part.init + part.data)
        tracks = await probe(path)
        assert set(tracks) == ({"video"} if has_video else set()) | ({"audio"} if sent.track("audio") else set())
        for track in tracks.values():
            assert track.gap_s <= 3 * track.frame_s + 0.005, f"{part.name}: a gap in {track.kind}"
        if has_video:
            first = next(item for item in _items(part.init, part.data) if item.track == "video")
            assert first.is_keyframe, f"{part.name} does not start on a keyframe"
        await decode(path)


def _items(init: bytes, data: bytes) -> list[Item]:
    return Recording("", [Part("", 0, "", init, data, False)]).listing().items


@pytest.mark.parametrize(("name", "make"), CLIPS, ids=[name for name, _ in CLIPS])
async def test_a_recording_in_a_directory(name: str, make: Callable[[], Path], relay: Relay, tmp_path: Path) -> None:
    """Codec by codec: segments, playlist and packets, and the whole playlist played without a gap."""
    sent, shown = await record(relay, make, 2.0)
    folder = relay.data / "archive" / "talk" / str(shown["id"])
    recording = read_folder(folder)
    await check(recording, shown, sent, tmp_path)
    if name == "resized":
        assert recording.parts[0].init != recording.parts[-1].init, "a new size needs a new init segment"
        assert any(part.discontinuity for part in recording.parts)
        return
    tracks = await probe(folder / "index.m3u8", "-allowed_extensions", "ALL")
    for kind, track in tracks.items():
        assert len(track.dts) == len(sent.track(kind))
        assert track.gap_s <= 2 * track.frame_s + 0.005, f"{kind}: {track.gap_s} s between two packets"
    await decode(folder / "index.m3u8", "-allowed_extensions", "ALL")


async def test_a_recording_in_a_bucket(start_relay: Start, processes: Processes, tmp_path: Path) -> None:
    """On a real S3 server: the same, played by ffmpeg straight from the bucket."""
    s3 = pytest.importorskip("tests.support.s3")
    async with s3.serve(processes, tmp_path) as server:
        relay = await start_relay(**server.settings)
        sent, shown = await record(relay, lambda: clips.make(clips.H264_B), 2.0)
        recording = await server.read_whole(f"talk/{shown['id']}")
        await check(recording, shown, sent, tmp_path)


async def test_playback_over_http_needs_the_token(relay: Relay, tmp_path: Path) -> None:
    """The API's playlist of a recording is the archive's; strangers get nothing."""
    sent, shown = await record(relay, lambda: clips.make(clips.H264), 4.0)
    path = f"/api/v1/recordings/{shown['id']}/index.m3u8"
    text = (await relay.fetch(path, token=relay.token)).decode()
    assert text.startswith("#EXTM3U")
    assert text.count("#EXTINF") == shown["segments"]
    with pytest.raises(ApiError) as refused:
        await relay.fetch(path)
    assert refused.value.status == 401
    assert sent.items


async def test_an_archive_switched_off_keeps_nothing(start_relay: Start) -> None:
    relay = await start_relay(ARCHIVE__STORE="off")
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Publisher(relay.publish_url(channel)) as publisher:
        await publisher.send(clip, until_ms=2000)
        await relay.wait_channel("talk", "live")
    await relay.wait_channel("talk", "offline")
    assert (await relay.api("GET", "/recordings?channel=talk"))["recordings"] == []
    assert not list(relay.data.rglob("*.m4s"))
