"""Verify over the API: a good recording is said to be good, a spoiled one names the segment, also while others wait."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay.app import App
from tests.support.app import Browser, browsing, running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher
from tests.web.signing import add_user, sign_in


async def recorded(app: App) -> str:
    """The id of a finished recording with everything in the store."""
    clip = await asyncio.to_thread(make, H264)
    key = app.control.channel("demo").stream_key
    publisher = Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{key}")
    await publisher.open()
    await publisher.send(clip, speed=None)
    await publisher.close()
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        found = await app.control.recordings.list("demo")
        if found and found[0].state == "complete" and found[0].segments_stored == found[0].segments > 0:
            folder = app.settings.data_dir / "archive" / "demo" / found[0].id
            if "#EXT-X-ENDLIST" in (folder / "index.m3u8").read_text() and (folder / "manifest.json").exists():
                return found[0].id
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)


async def checked(browser: Browser, recording: str) -> Any:
    path = f"/api/v1/recordings/{recording}/verify"
    status, view, _ = await browser.ask("POST", path)
    assert status == 202
    deadline = asyncio.get_running_loop().time() + 30
    while view["state"] in ("waiting", "running"):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
        _, view, _ = await browser.ask("GET", path)
    return view


async def test_good_then_spoiled_then_good_again(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app, browsing(app) as browser:
        recording = await recorded(app)
        path = f"/api/v1/recordings/{recording}/verify"
        assert (await browser.ask("GET", path))[1]["state"] == "none"
        view = await checked(browser, recording)
        assert (view["state"], view["problems"]) == ("good", []), view
        assert "as it was recorded" in view["words"]
        segment = next(iter(sorted((tmp_path / "archive" / "demo" / recording).glob("0*.m4s"))))
        data = segment.read_bytes()
        segment.write_bytes(data[:-1] + b"x")
        view = await checked(browser, recording)
        assert view["state"] == "bad"
        assert segment.name in view["problems"][0]
        await sign_in(browser)
        page = (await browser.ask("GET", f"/recordings/{recording}", token=""))[1]
        assert "This is not what was recorded." in page
        segment.write_bytes(data)
        assert (await checked(browser, recording))["state"] == "good"
        (segment.parent / "manifest.json").unlink()
        view = await checked(browser, recording)
        assert (view["state"], "there is no manifest.json" in view["words"]) == ("unknown", True)


async def test_what_is_not_there_and_who_may_not(app: App, browser: Browser) -> None:
    status, body, _ = await browser.ask("POST", "/api/v1/recordings/none/verify")
    assert (status, body["error"]["code"]) == (404, "not_found")
    await add_user(app, "anna", "viewer")
    await sign_in(browser, "anna")
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert (await browser.ask("POST", "/api/v1/recordings/none/verify", token="", headers=headers))[0] == 403


@pytest.mark.parametrize("store", ["off"])
async def test_without_an_archive_it_says_so(tmp_path: Path, store: str) -> None:
    async with running_app(tmp_path, archive={"store": store}) as app, browsing(app) as browser:
        status, body, _ = await browser.ask("POST", "/api/v1/recordings/x/verify")
        assert (status, "archive is off" in body["error"]["message"]) == (404, True)
