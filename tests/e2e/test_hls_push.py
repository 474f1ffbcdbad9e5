"""HLS in, end to end: real encoders upload over links that cut, delay and reorder; what is acknowledged is archived."""

import asyncio
import contextlib
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.ingest.segments import AAC, AUDIO, FFMPEG
from tests.support import payloads
from tests.support.bad_link import BadLink, bad_link
from tests.support.clips import FULL
from tests.support.payloads import Payloads
from tests.support.process import Processes
from tests.support.recording import Recording, read_folder
from tests.support.relay import Relay

SECONDS, SEGMENT_S = (1000, 1) if FULL else (8, 0.5)
VIDEO = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=20")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "10", "-sc_threshold", "0")
QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")


def upload_url(relay: Relay, channel: dict[str, Any]) -> str:
    """Where uploads of a channel go; names follow."""
    return f"http://127.0.0.1:{relay.ingest_http_port}/ingest/hls/{channel['stream_key']}"


async def encode(processes: Processes, url: str, *words: str, seconds: float = SECONDS, real_time: bool = True) -> None:
    """ffmpeg uploads ``seconds`` of test media as HLS to ``url``."""
    pace = ("-readrate", "25" if FULL else "1.5") if real_time else ()
    source = (*pace, *VIDEO, *pace, *AUDIO, *H264, *AAC, "-t", str(seconds))
    muxer = ("-f", "hls", "-hls_time", str(SEGMENT_S), *words, f"{url}/index.m3u8")
    await processes.start(FFMPEG, *QUIET, *source, *muxer, name="ffmpeg").done(seconds * 2 + 60)


async def recorded(relay: Relay, channel: str) -> Recording:
    found = await relay.recording(channel, within=120)
    assert found["gap_s"] == 0, found
    folder = relay.data / "archive" / channel / found["id"]
    async with asyncio.timeout(30):
        while not (folder / "index.m3u8").exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
    return read_folder(folder)


def sent(link: BadLink, folder: Path) -> Payloads:
    inits = [upload.data for upload in link.uploads if upload.name == "init.mp4"]
    data = [upload.data for upload in link.segments]
    return payloads.of_fmp4(inits[0], data, folder) if inits else payloads.of_ts(data, folder)


def no_partial_object(relay: Relay, recording: Recording) -> None:
    """Everything in the store is whole: nothing is there that no playlist or paper names, nothing half written."""
    for path in (relay.data / "archive").rglob("*"):
        assert not path.name.endswith((".tmp", ".part")), path
    for part in recording.parts:
        assert part.data[4:8] in (b"styp", b"moof", b"sidx")


@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("kind", ["mpegts", "fmp4"])
async def test_a_link_that_cuts_delays_and_reorders(
    kind: str, relay: Relay, processes: Processes, tmp_path: Path
) -> None:
    channel = await relay.add_channel("talk")
    async with bad_link(upload_url(relay, channel)) as link:
        await encode(processes, link.url, "-method", "PUT", "-hls_segment_type", kind)
        await link.drained(900 if FULL else 120)
        assert len(link.segments) >= SECONDS / SEGMENT_S
        assert link.cuts > (100 if FULL else 0)
    recording = await recorded(relay, "talk")
    assert payloads.of_recording(recording) == sent(link, tmp_path)
    no_partial_object(relay, recording)
    samples = await relay.metrics()
    assert samples['relay_hls_segments_total{outcome="stored"}'] == len(link.segments)
    assert samples["relay_hls_demux_restarts_total"] == 0


@pytest.mark.parametrize("kind", ["mpegts", "fmp4"])
async def test_the_relay_is_killed_in_between(kind: str, relay: Relay, processes: Processes, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing is there twice, whatever was on its way when it died."""
    channel = await relay.add_channel("talk")
    async with bad_link(upload_url(relay, channel), delay_s=0.1) as link:
        encoding = asyncio.create_task(encode(processes, link.url, "-method", "PUT", "-hls_segment_type", kind))
        for so_many in (7, 15):
            async with asyncio.timeout(60):
                while link.acknowledged < so_many:  # noqa: ASYNC110 - another process is waited for
                    await asyncio.sleep(0.01)
            relay.kill()
            await relay.start()
        await encoding
        await link.drained()
    found = await relay.recording("talk", within=60)
    recording = read_folder(relay.data / "archive" / "talk" / found["id"])
    assert payloads.of_recording(recording) == sent(link, tmp_path)
    no_partial_object(relay, recording)


async def test_a_segment_that_comes_much_later(relay: Relay, processes: Processes, tmp_path: Path) -> None:
    """An encoder goes on without it, and sends it again at the end: it is where it belongs."""
    channel = await relay.add_channel("talk")
    async with bad_link(upload_url(relay, channel), cut=0, delay_s=0.05, held="index5.ts") as link:
        await encode(processes, link.url, "-method", "PUT", "-hls_flags", "omit_endlist")
        async with asyncio.timeout(60):
            while link.acknowledged < len(link.uploads) - 1:  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.05)
        assert (await relay.metrics())['relay_hls_segments_total{outcome="backfilled"}'] == 0
        link.let_go()
        await link.drained()
        assert (await relay.metrics())['relay_hls_segments_total{outcome="backfilled"}'] == 1
    await relay.api("DELETE", "/channels/talk")
    recording = await recorded(relay, "talk")
    assert payloads.of_recording(recording) == sent(link, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ("-method", "POST"),
        ("-method", "PUT", "-hls_segment_type", "fmp4", "-hls_flags", "delete_segments", "-hls_list_size", "3"),
        ("-method", "PUT", "-hls_segment_filename", "{url}/%Y-%s.ts", "-strftime", "1", "-hls_time", "1"),
    ],
    ids=["post", "fmp4-deleting", "named-by-the-clock"],
)
async def test_ffmpeg_straight_to_the_relay(words: tuple[str, ...], relay: Relay, processes: Processes) -> None:
    """It closes connections without waiting for the answer, and sends the init and the first segment at once."""
    channel = await relay.add_channel("talk")
    url = upload_url(relay, channel)
    await encode(processes, url, *(word.format(url=url) for word in words), seconds=5)
    found = payloads.of_recording(await recorded(relay, "talk"))
    assert len(found["video"]) == 100
    assert abs(len(found["audio"]) - 5 * 48000 / 1024) < 3
    assert len(set(found["video"])) == 100


async def test_ffmpeg_with_persistent_connections(relay: Relay, processes: Processes) -> None:
    """ffmpeg 9 uploads hardly any playlist then, often not even the last (named quirk): the stream is held instead."""
    channel = await relay.add_channel("talk")
    await encode(processes, upload_url(relay, channel), "-method", "PUT", "-http_persistent", "1", seconds=4)
    async with asyncio.timeout(60):
        while (await relay.channel("talk"))["state"] == "live":  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.1)
    samples = await relay.metrics()
    assert samples['relay_ingest_packets_total{channel="talk",track="video"}'] == 80
    assert samples['relay_hls_segments_total{outcome="stored"}'] == 8


async def test_dash_with_audio_and_video_apart(relay: Relay, processes: Processes) -> None:
    """Objects of their own for each track, with init segments of their own (DASH-IF live ingest)."""
    channel = await relay.add_channel("talk")
    source = ("-readrate", "1.5", *VIDEO, "-readrate", "1.5", *AUDIO, *H264, *AAC, "-t", "5")
    muxer = ("-f", "dash", "-method", "PUT", "-seg_duration", "0.5", f"{upload_url(relay, channel)}/live.mpd")
    await processes.start(FFMPEG, *QUIET[:-1], "fatal", *source, *muxer, name="ffmpeg").done(60)
    recording = await recorded(relay, "talk")
    found = payloads.of_recording(recording)
    assert len(found["video"]) == len(set(found["video"])) == 100
    assert abs(len(found["audio"]) - 5 * 48000 / 1024) < 3


async def test_tracks_without_an_end(relay: Relay, processes: Processes) -> None:
    """Audio and video as one long chunked POST each, both from the same ffmpeg (DASH-IF live ingest, interface 1)."""
    channel = await relay.add_channel("talk")
    source = ("-readrate", "1.5", *VIDEO, "-readrate", "1.5", *AUDIO)
    flags = ("-movflags", "empty_moov+default_base_moof+cmaf", "-frag_duration", "500000", "-method", "POST")
    outputs = (
        *("-map", "0:v", *H264, *flags, "-t", "5", "-f", "mp4", f"{upload_url(relay, channel)}/talk.cmfv"),
        *("-map", "1:a", *AAC, *flags, "-t", "5", "-f", "mp4", f"{upload_url(relay, channel)}/talk.cmfa"),
    )
    await processes.start(FFMPEG, *QUIET, *source, *outputs, name="ffmpeg").done(60)
    found = payloads.of_recording(await recorded(relay, "talk"))
    assert len(found["video"]) == len(set(found["video"])) == 100
    assert abs(len(found["audio"]) - 5 * 48000 / 1024) < 3


async def test_gstreamer_and_an_uploader(relay: Relay, processes: Processes, tmp_path: Path) -> None:
    """hlssink2 writes files; a script uploads each when it is finished, and the playlist after it."""
    folder = tmp_path / "hls"
    folder.mkdir()
    channel = await relay.add_channel("talk")
    # Without these queues the sink, which takes audio and video in turns, may wait for one behind the other for ever.
    queue = "queue max-size-buffers=0 max-size-bytes=0 max-size-time=0"
    pipeline = (
        f"hlssink2 name=sink target-duration=1 max-files=100 playlist-length=0 "
        f"location={folder}/segment%05d.ts playlist-location={folder}/index.m3u8 "
        f"videotestsrc num-buffers=120 ! video/x-raw,width=160,height=90,framerate=20/1 ! "
        f"x264enc key-int-max=20 tune=zerolatency ! h264parse ! {queue} ! sink.video "
        f"audiotestsrc num-buffers=281 samplesperbuffer=1024 ! audio/x-raw,rate=48000 ! "
        f"avenc_aac ! aacparse ! {queue} ! sink.audio"
    )
    # All the same it now and then hangs at the end of its input, with nothing more to come.
    for _ in range(3):
        gst = processes.start("gst-launch-1.0", "-e", "-q", *pipeline.split(), name="gst")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await gst.done(60)
                break
        gst.kill()
    segments = sorted(folder.glob("*.ts"))
    assert len(segments) >= 5

    def put(path: Path) -> int:
        url = f"{upload_url(relay, channel)}/{path.name}"
        with urllib.request.urlopen(urllib.request.Request(url, path.read_bytes(), method="PUT"), timeout=30) as answer:
            return int(answer.status)

    assert [await asyncio.to_thread(put, path) for path in segments] == [201] * len(segments)
    playlist = folder / "index.m3u8"
    if "#EXT-X-ENDLIST" not in playlist.read_text():
        playlist.write_text(playlist.read_text() + "#EXT-X-ENDLIST\n")
    assert await asyncio.to_thread(put, playlist) == 200
    found = payloads.of_recording(await recorded(relay, "talk"))
    assert found == payloads.of_ts([path.read_bytes() for path in segments], tmp_path)


async def test_words_for_the_operator(start_relay: Start) -> None:
    relay = await start_relay("shown")
    channel = await relay.add_channel("talk")
    shown = relay.run("channel", "show", "talk")
    await shown.done()
    assert f"{channel['hls_publish_url']}" in shown.text()
    assert channel["hls_publish_url"] == f"{upload_url(relay, channel)}/index.m3u8"
