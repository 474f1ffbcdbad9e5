"""The console's pages: what each shows, to whom; text is never HTML, and no key is on a page."""

import asyncio
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from relay.app import App
from relay.control.models import NewChannel, NewDestination
from tests.support.app import Browser, browsing, running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher
from tests.web.signing import add_user, sign_in

PAGES = ("/", "/channels/demo", "/recordings", "/recordings/some-recording", "/log", "/audit")
NASTY = "</script><img src=x onerror=alert(1)>'\"{{7*7}}"


@pytest.mark.parametrize("path", [*PAGES, "/channels/none", "/watch/some-recording"])
async def test_without_a_session_a_page_leads_to_sign_in(browser: Browser, path: str) -> None:
    status, _, response = await browser.ask("GET", path, token="")
    assert (status, response.headers["Location"]) == (303, "/sign-in")


async def test_an_empty_relay_says_the_next_step(app: App, browser: Browser) -> None:
    await sign_in(browser)
    assert "Not sent anywhere yet" in (await browser.ask("GET", "/channels/demo", token=""))[1]
    assert "Nothing recorded yet" in (await browser.ask("GET", "/recordings", token=""))[1]
    await app.control.delete_channel("demo")
    page = (await browser.ask("GET", "/", token=""))[1]
    assert "No channels yet" in page
    assert 'data-open="new-channel"' in page


async def test_no_key_is_on_a_page_and_nothing_of_it_is_kept(app: App, browser: Browser) -> None:
    await sign_in(browser)
    destination = NewDestination(name="own", url="rtmp://198.51.100.1/live", key="platform-key-1234")
    await app.control.add_destination("demo", destination)
    view = app.control.channel("demo")
    for path in PAGES:
        _, page, response = await browser.ask("GET", path, token="")
        assert response.headers["Cache-Control"] == "no-store"
        for key in (view.stream_key, view.read_key, "platform-key-1234", browser.token):
            assert key not in page, path


async def test_pages_run_nothing_written_into_them(browser: Browser) -> None:
    await sign_in(browser)
    for path in ("/sign-in", *PAGES):
        _, page, response = await browser.ask("GET", path, token="")
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", page), path


async def test_what_people_and_strangers_wrote_is_shown_as_text(app: App, browser: Browser) -> None:
    await sign_in(browser)
    # By the models only a URL may hold such letters; what strangers say comes by errors, encoders and the log.
    destination = NewDestination(name="d", url=f"rtmp://host.example/{NASTY}", key="k", enabled=False)
    await app.control.create_channel(NewChannel(name="rally", destinations=[destination]))
    events = app.web._console._pulse._events
    events(None, "info", {"event": NASTY, "level": NASTY, "timestamp": NASTY, "channel": "rally", "reason": NASTY})
    events(None, "info", {"event": "x", "level": "info", "timestamp": "t", "channel": NASTY})
    for path in (
        "/",
        "/channels/rally",
        "/log",
        f"/recordings?channel={quote(NASTY)}",
        f"/channels/{quote('<img src=x>')}",
    ):
        _, page, _ = await browser.ask("GET", path, token="")
        assert "<img src=x" not in page, path
        assert "</html>" in page, path
    assert "&lt;img src=x" in (await browser.ask("GET", "/log", token=""))[1]


async def test_what_is_not_there_says_so(browser: Browser) -> None:
    await sign_in(browser)
    status, page, _ = await browser.ask("GET", "/channels/none", token="")
    assert (status, "no such channel" in page) == (404, True)
    status, page, _ = await browser.ask("GET", "/recordings/..%2fx", token="")
    assert (status, "no such recording" in page) == (404, True)


async def test_links_of_old_lead_to_the_recordings_page(browser: Browser) -> None:
    await sign_in(browser)
    status, _, response = await browser.ask("GET", "/watch/some-recording", token="")
    assert (status, response.headers["Location"]) == (303, "/recordings/some-recording")


async def test_a_viewer_is_offered_nothing_to_change(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "viewer")
    await sign_in(browser, "anna")
    for path in PAGES:
        page = (await browser.ask("GET", path, token=""))[1]
        assert "data-api" not in page, path
        assert "data-edit" not in page, path


async def test_without_an_archive_the_page_says_why_there_is_nothing(tmp_path: Path) -> None:
    async with running_app(tmp_path, archive={"store": "off"}) as app, browsing(app) as browser:
        await sign_in(browser)
        assert "The archive is off" in (await browser.ask("GET", "/recordings", token=""))[1]
        assert "The archive is off" in (await browser.ask("GET", "/channels/demo", token=""))[1]


async def test_a_held_channel_and_what_its_recording_lacks(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    async with running_app(tmp_path) as app, browsing(app) as browser:
        await sign_in(browser)
        view = app.control.channel("demo")
        for _ in range(2):
            publisher = Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{view.stream_key}")
            await publisher.open()
            await publisher.send(clip, speed=None)
            deadline = asyncio.get_running_loop().time() + 20
            while app.control.channel("demo").publisher is not None:
                assert asyncio.get_running_loop().time() < deadline
                await publisher.abort()
                await asyncio.sleep(0.5)
        _, page, _ = await browser.ask("GET", "/channels/demo", token="")
        assert re.search(r'data-tone="warn" +data-field="state" data-tone-field="state_tone">holding<', page)
        assert "Away; destinations are held meanwhile" in page
        (recording,) = await app.control.recordings.list("demo")
        deadline = asyncio.get_running_loop().time() + 20
        while not (await app.control.recordings.gaps(recording.id)).gaps:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        _, page, _ = await browser.ask("GET", f"/recordings/{recording.id}", token="")
        assert '<rect class="gap"' in page
        assert "link lost" in page
        _, page, _ = await browser.ask("GET", "/recordings?channel=demo", token="")
        assert f'href="/recordings/{recording.id}"' in page
