"""Playback: what was published plays back; links are signed, short-lived and for one recording."""

import asyncio
import re
import subprocess
import time
from pathlib import Path

from relay.app import App
from relay.web.playback import LINK_S, Links
from tests.support.app import Browser, browsing, running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher


async def publish(app: App, source: Path) -> str:
    """Publish a clip as fast as it goes; the id of its recording once it is complete and stored."""
    channel = app.control.channel("demo")
    async with Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{channel.stream_key}") as publisher:
        await publisher.send(source, speed=None)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        rows = await app.control.recordings.list("demo")
        if rows and rows[0].state == "complete" and rows[0].segments == rows[0].segments_stored > 0:
            return rows[0].id
        await asyncio.sleep(0.1)
    raise AssertionError(f"not complete: {rows}")


async def test_a_recording_plays_from_its_signed_links_alone(app: App, browser: Browser) -> None:
    recording = await publish(app, await asyncio.to_thread(make, H264))
    status, playlist, response = await browser.ask("GET", f"/api/v1/recordings/{recording}/index.m3u8")
    assert (status, response.content_type) == (200, "application/vnd.apple.mpegurl")
    assert "#EXT-X-ENDLIST" in playlist
    links = re.findall(r"^[^#].*$", playlist, re.MULTILINE)
    assert links
    assert "expires=" in links[0]
    expires = int(links[0].partition("expires=")[2].partition("&")[0])
    assert (expires % 3600, 0 < expires - time.time() - LINK_S <= 3600) == (0, True), "the same links for an hour"
    assert all("signature=" in link for link in links)
    base = f"/api/v1/recordings/{recording}/"
    assert (await browser.ask("GET", base + links[0], token=""))[0] == 200
    unsigned = links[0].partition("?")[0]
    assert (await browser.ask("GET", base + unsigned, token=""))[0] == 401
    assert (await browser.ask("GET", base + links[0].replace("signature=", "signature=0"), token=""))[0] == 401
    query = app.web._links.query(recording, int(time.time()) + 600)
    command = ["ffmpeg", "-v", "error", "-i", f"{browser.base}{base}index.m3u8?{query}", "-f", "null", "-"]
    played = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (played.returncode, played.stderr) == (0, "")


async def test_a_channel_that_is_not_live_plays_its_newest_recording(tmp_path: Path) -> None:
    async with running_app(tmp_path, live={"ended_s": 0}) as app, browsing(app) as browser:
        status, error, _ = await browser.ask("GET", "/live/demo/index.m3u8")
        assert (status, "nothing has been recorded" in error["error"]["message"]) == (404, True)
        recording = await publish(app, await asyncio.to_thread(make, H264))
        status, playlist, _ = await browser.ask("GET", "/live/demo/index.m3u8")
        assert status == 200
        assert f"/api/v1/recordings/{recording}/" in playlist
        status, error, _ = await browser.ask("GET", "/live/demo/index.m3u8", token="")
        assert (status, "?key=READ_KEY" in error["error"]["message"]) == (401, True)
        view = app.control.channel("demo")
        for key in ("wrong", view.stream_key, "%ff"):
            assert (await browser.ask("GET", f"/live/demo/index.m3u8?key={key}", token=""))[0] == 401
        assert (await browser.ask("GET", f"/api/v1/channels?key={view.read_key}", token=""))[0] == 401
        address = f"{browser.base}/live/demo/index.m3u8?key={view.read_key}"
        command = ["ffmpeg", "-v", "error", "-i", address, "-f", "null", "-"]
        played = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
        assert (played.returncode, played.stderr) == (0, "")


async def test_names_never_become_paths(browser: Browser) -> None:
    for name in ("..%2f..%2fadmin.token", "%2e%2e", "admin.token", "000000.flv.part", "000000.m4s%00"):
        status, body, _ = await browser.ask("GET", f"/api/v1/recordings/x/{name}")
        assert status == 404
        assert browser.token not in str(body)


class Asked:
    """As much of a request as a link is judged by."""

    def __init__(self, recording: str, query: str) -> None:
        self.match_info = {"id": recording}
        self.method = "GET"
        self.query = dict(part.split("=") for part in query.split("&"))


def test_a_link_is_for_one_recording_and_expires() -> None:
    links = Links(lambda text: f"signed<{text}>")
    query = links.query("r1", int(time.time()) + 60)
    assert links.allows(Asked("r1", query))  # type: ignore[arg-type]
    assert not links.allows(Asked("r2", query))  # type: ignore[arg-type]
    past = int(time.time()) - 1
    assert not links.allows(Asked("r1", f"expires={past}&signature=signed<r1:{past}>"))  # type: ignore[arg-type]
    assert not links.allows(Asked("r1", "expires=x&signature=y"))  # type: ignore[arg-type]
    assert 3600 <= LINK_S <= 24 * 3600
