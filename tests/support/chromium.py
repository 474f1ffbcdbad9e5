"""A real browser without a screen: plays an address in a page of its own and says how that went."""

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web

import relay.web
from tests.support.process import Processes

CHROMIUM = "/usr/bin/chromium"
HLS = Path(relay.web.__file__).parent / "static" / "vendor" / "hls.light.min.js"
HEADLESS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)
# The relay allows no other origin's pages to read it, and this page is one.
_OPEN = ("--disable-web-security",)
_PAGE = """<!doctype html><title>play</title><video muted></video><script src="/hls.js"></script><script>
const video = document.querySelector("video"), asked = JSON.parse(ASKED);
const tell = (what) => fetch("/told", {method: "POST", body: JSON.stringify({
  what, time: video.currentTime, duration: String(video.duration), width: video.videoWidth, height: video.videoHeight,
  frames: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount,
  seekable: video.seekable.length ? video.seekable.end(0) : 0, seeked,
  errors: [...errors, ...(video.error ? [video.error.message] : [])]})});
let seeked = null;
const errors = [];
video.onerror = () => tell("error");
video.onended = () => {
  if (asked.seek === null || seeked !== null) { tell("ended"); return; }
  video.onseeked = () => { seeked = video.currentTime; video.play(); };
  video.currentTime = asked.seek;
};
if (asked.url.includes(".m3u8")) {
  const hls = new Hls({startPosition: 0});
  hls.on(Hls.Events.ERROR, (_, data) => { errors.push(data.details); if (data.fatal) tell("error"); });
  hls.loadSource(asked.url); hls.attachMedia(video);
} else video.src = asked.url;
video.playbackRate = asked.rate; video.play();
</script>"""


async def play(
    processes: Processes, folder: Path, url: str, *, rate: float = 4.0, seek: float | None = None, within: float = 90
) -> dict[str, Any]:
    """What the page tells once ``url`` has been played to its end (and again from ``seek`` s on), or could not be.

    Playlists are played by the console's hls.js from their first segment on, everything else by the browser alone.
    """
    told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def page(_: web.Request) -> web.Response:
        asked = json.dumps(json.dumps({"url": url, "rate": rate, "seek": seek}))
        return web.Response(text=_PAGE.replace("ASKED", asked), content_type="text/html")

    async def listen(request: web.Request) -> web.Response:
        if not told.done():
            told.set_result(json.loads(await request.text()))
        return web.Response()

    async def library(_: web.Request) -> web.FileResponse:
        return web.FileResponse(HLS)

    app = web.Application()
    app.router.add_get("/hls.js", library)
    app.router.add_get("/", page)
    app.router.add_post("/told", listen)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        port = runner.addresses[0][1]
        browser = processes.start(
            CHROMIUM,
            *HEADLESS,
            *_OPEN,
            f"--user-data-dir={folder}/chromium",
            f"http://127.0.0.1:{port}/",
            name="chromium",
        )
        try:
            async with asyncio.timeout(within):
                return await told
        except TimeoutError:
            raise AssertionError(f"the browser says nothing of {url}: {browser.tail()}") from None
        finally:
            browser.kill()
    finally:
        await runner.cleanup()
