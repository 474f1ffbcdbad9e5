"""What stands in for a publisher, as GStreamer and Chromium play it: repeated keyframes, and silence."""

import array
import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web

from relay.media import Codec, Packet, Track
from relay.protocol import codecs
from relay.protocol.silence import SILENT_AAC, silence
from tests.protocol.freezing import encode, hold, pictures, write

pytestmark = pytest.mark.e2e

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-sc_threshold", "0", "-preset", "veryfast")
STREAMS = {
    "baseline": (*X264, "-profile:v", "baseline"),
    "high, slices": (*X264, "-profile:v", "high", "-bf", "0", "-x264-params", "slices=4"),
    "high, B-frames, slices": (*X264, "-profile:v", "high", "-bf", "2", "-x264-params", "slices=4"),
}
SIZE = 320 * 180 * 3 // 2
MONO_AAC = codecs.read_track(Codec.AAC, bytes.fromhex("1208"))


async def run(*words: str, **settings: str) -> str:
    """What a program printed as errors; AssertionError when it failed."""
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **settings},
    )
    try:
        async with asyncio.timeout(60):
            _, err = await child.communicate()
    except BaseException:
        child.kill()
        await child.wait()
        raise
    assert child.returncode == 0, err.decode()
    return err.decode()


async def gstreamer(source: Path, target: Path, *elements: str) -> bytes:
    """What GStreamer's ``elements`` make of MP4 file ``source``; AssertionError on any warning of theirs."""
    chain = ["filesrc", f"location={source}", "!", "qtdemux", "!", *" ! ".join(elements).split()]
    # Warnings of the decoders and what they are made of; the rest has some about files that are perfectly well.
    levels = "1,libav:2,openh264dec:2,videodecoder:2,h264parse:2,codecparsers_h264:2,aacparse:2"
    said = await run(
        "gst-launch-1.0", "-q", *chain, "!", "filesink", f"location={target}", GST_DEBUG=levels, GST_DEBUG_NO_COLOR="1"
    )
    assert not said, said
    return target.read_bytes()


# OpenH264 decodes no B-frames.
DECODERS = [*((name, "avdec_h264") for name in STREAMS), ("baseline", "openh264dec"), ("high, slices", "openh264dec")]


@pytest.mark.parametrize(("name", "decoder"), DECODERS)
async def test_gstreamer_shows_each_repeat(name: str, decoder: str, tmp_path: Path) -> None:
    live = encode(tmp_path, STREAMS[name])
    held, equal_to = hold(live)
    wanted = pictures(write(tmp_path / "live.flv", live))
    path = write(tmp_path / "held.mp4", held)
    raw = await gstreamer(path, tmp_path / "raw", "h264parse", decoder, "videoconvert", "video/x-raw,format=I420")
    assert len(raw) == len(held) * SIZE
    shown = [hashlib.md5(raw[at : at + SIZE]).hexdigest() for at in range(0, len(raw), SIZE)]
    assert shown == [wanted[number] for number in equal_to]


def quiet(track: Track, count: int = 100) -> list[Packet]:
    frame = silence(track)
    assert frame is not None
    times = [round(number * frame.duration_ms) for number in range(count)]
    return [Packet(track, at, at, True, frame.data) for at in times]


@pytest.mark.parametrize("decoder", ["avdec_aac", "faad"])
@pytest.mark.parametrize("track", [SILENT_AAC, MONO_AAC], ids=["stereo", "mono"])
async def test_gstreamer_hears_silence(track: Track, decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "silent.mp4", quiet(track))
    elements = ("aacparse", decoder, "audioconvert", f"audio/x-raw,format=F32LE,channels={track.channels}")
    sound = array.array("f", await gstreamer(path, tmp_path / "raw", *elements)).tolist()
    assert abs(len(sound) - 100 * 1024 * track.channels) <= 1024 * track.channels  # MP4 trims to whole ms
    assert not any(sound)


# --- Chromium --------------------------------------------------------------------------------------------------------

VIDEO_PAGE = """<!doctype html><video id=v muted src=media.mp4></video><script>
const video = document.getElementById('v'), seen = [];
const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
const tell = (what) => fetch('told', {method: 'POST', body: JSON.stringify(what)});
async function look(_, frame) {
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  pen.drawImage(video, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  video.requestVideoFrameCallback(look);
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', pixels));
  seen.push([frame.mediaTime, Array.from(sum.slice(0, 8)).join()]);
}
video.onerror = () => tell({error: video.error.message});
video.onended = () => tell({seen, total: video.getVideoPlaybackQuality().totalVideoFrames});
video.requestVideoFrameCallback(look);
video.play().catch((error) => tell({error: String(error)}));
</script>"""

AUDIO_PAGE = """<!doctype html><script>
const tell = (what) => fetch('told', {method: 'POST', body: JSON.stringify(what)});
(async () => {
  const file = await (await fetch('media.mp4')).arrayBuffer();
  const sound = await new OfflineAudioContext(2, 1, 48000).decodeAudioData(file);
  let peak = 0;
  for (let channel = 0; channel < sound.numberOfChannels; channel++)
    for (const sample of sound.getChannelData(channel)) peak = Math.max(peak, Math.abs(sample));
  await tell({peak, channels: sound.numberOfChannels, seconds: sound.duration});
})().catch((error) => tell({error: String(error)}));
</script>"""


async def chromium(page: str, media: Path, folder: Path) -> dict[str, object]:
    """What ``page`` told of ``media`` in a headless Chromium."""
    told: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

    async def hear(request: web.Request) -> web.Response:
        if not told.done():
            told.set_result(json.loads(await request.text()))
        return web.Response()

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    async def give(_: web.Request) -> web.FileResponse:
        return web.FileResponse(media)

    app = web.Application()
    app.add_routes([web.get("/", show), web.get("/media.mp4", give), web.post("/told", hear)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        words += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'profile'}"]
        browser = await asyncio.create_subprocess_exec(
            "chromium",
            *words,
            f"http://127.0.0.1:{port}/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(90):
                return await told
        finally:
            browser.terminate()
            await browser.wait()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", STREAMS)
async def test_chromium_shows_each_repeat(name: str, tmp_path: Path) -> None:
    held, _ = hold(encode(tmp_path, STREAMS[name]))
    told = await chromium(VIDEO_PAGE, write(tmp_path / "held.mp4", held), tmp_path)
    assert "error" not in told, told
    assert told["total"] == len(held)
    seen = told["seen"]
    assert isinstance(seen, Sequence)
    # The repeats are on show for half a second each, long enough for a busy machine to see most of them.
    starts = sorted(packet.pts_ms for packet in held)
    first, last = starts[12], starts[22]
    repeats = [what for at, what in seen if first - 5 <= 1000 * at + starts[0] < last - 5]
    assert len(repeats) >= 5
    assert len(set(repeats)) == 1
    assert len({what for _, what in seen}) > 1


@pytest.mark.parametrize("track", [SILENT_AAC, MONO_AAC], ids=["stereo", "mono"])
async def test_chromium_hears_silence(track: Track, tmp_path: Path) -> None:
    told = await chromium(AUDIO_PAGE, write(tmp_path / "silent.mp4", quiet(track)), tmp_path)
    assert "error" not in told, told
    assert (told["peak"], told["channels"]) == (0, track.channels)
    assert abs(float(str(told["seconds"])) - 102400 / track.sample_rate) < 0.05
