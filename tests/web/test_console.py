"""The console: a session from token to sign-out; other sites cannot use it; text is never HTML."""

import asyncio
import re
from pathlib import Path

from relay.app import App
from relay.control.models import NewChannel, NewDestination
from tests.support.app import Browser, browsing, running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher


async def sign_in(browser: Browser) -> None:
    status, _, response = await browser.ask("POST", "/sign-in", token="", data={"token": browser.token})
    assert (status, response.headers["Location"]) == (303, "/")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


async def test_without_a_session_the_pages_lead_to_sign_in(browser: Browser) -> None:
    for path in ("/", "/watch/some-recording"):
        status, _, response = await browser.ask("GET", path, token="")
        assert (status, response.headers["Location"]) == (303, "/sign-in")


async def test_signed_in_the_page_shows_channels_and_the_api_answers_until_sign_out(app: App, browser: Browser) -> None:
    await sign_in(browser)
    status, page, _ = await browser.ask("GET", "/", token="")
    assert status == 200
    assert "demo" in page
    assert "No destinations yet" in page
    view = app.control.channel("demo")
    assert f"{view.playback_url}?key={view.read_key}" in page
    assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 200
    assert (await browser.ask("POST", "/sign-out", token=""))[0] == 303
    assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 401


async def test_a_session_changes_things_only_from_our_own_pages(browser: Browser) -> None:
    await sign_in(browser)
    rotate = "/api/v1/channels/demo/rotate-key"
    for site in ("cross-site", "same-site", "none", ""):
        headers = {"Sec-Fetch-Site": site} if site else {}
        assert (await browser.ask("POST", rotate, token="", headers=headers))[0] == 401
    assert (await browser.ask("POST", rotate, token="", headers={"Sec-Fetch-Site": "same-origin"}))[0] == 200


async def test_a_wrong_token_is_told_so_and_guessing_is_slowed(browser: Browser) -> None:
    for _ in range(10):
        status, page, _ = await browser.ask("POST", "/sign-in", token="", data={"token": "guess"})
        assert status == 403
        assert "not the admin token" in page
    status, page, _ = await browser.ask("POST", "/sign-in", token="", data={"token": browser.token})
    assert (status, "Wait a minute" in page) == (429, True)


async def test_what_people_wrote_is_shown_as_text(app: App, browser: Browser) -> None:
    await sign_in(browser)
    url = "rtmp://host.example/<script>alert(1)</script>"
    destination = NewDestination(name="d", url=url, key="k", enabled=False)
    await app.control.create_channel(NewChannel(name="rally", destinations=[destination]))
    _, page, _ = await browser.ask("GET", "/", token="")
    assert "<script>alert" not in page


async def test_one_guessing_address_does_not_shut_the_others_out(app: App, browser: Browser) -> None:
    for _ in range(10):
        await browser.ask("POST", "/sign-in", token="", data={"token": "guess"})
    app.web._console._failures["192.0.2.1"] = app.web._console._failures.pop("127.0.0.1")
    await sign_in(browser)


async def test_the_link_and_what_is_missing_are_shown(tmp_path: Path) -> None:
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
        _, page, _ = await browser.ask("GET", "/", token="")
        assert '<span class="state holding" data-field="state">' in page
        assert re.search(r'data-field="health">(not known yet|\w+: \d+ kbit/s)', page)
        (recording,) = await app.control.recordings.list("demo")
        deadline = asyncio.get_running_loop().time() + 20
        while not (await app.control.recordings.gaps(recording.id)).gaps:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        _, page, _ = await browser.ask("GET", f"/watch/{recording.id}", token="")
        assert 'id="gaps"' in page
        assert "link lost" in page
