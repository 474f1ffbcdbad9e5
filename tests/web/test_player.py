"""The page to watch on: for whom it opens, what it loads, and links to it."""

import re
import time
from pathlib import Path

from relay.app import App
from relay.control.models import ChannelChange
from tests.support.app import Browser


async def test_the_page_opens_to_those_who_may_watch(app: App, browser: Browser) -> None:
    view = app.control.channel("demo")
    status, page, _ = await browser.ask("GET", "/watch/demo", token="")
    assert (status, "Access needed" in page) == (401, True)
    status, page, _ = await browser.ask("GET", f"/watch/demo?key={view.read_key}", token="")
    assert (status, f'data-query="?key={view.read_key}"' in page) == (200, True)
    await app.control.change_channel("demo", ChannelChange(viewers="public"))
    status, page, _ = await browser.ask("GET", "/watch/demo", token="")
    assert (status, 'data-query=""' in page) == (200, True)
    await app.control.change_channel("demo", ChannelChange(viewers="off"))
    assert (await browser.ask("GET", f"/watch/demo?key={view.read_key}", token=""))[0] == 401
    await browser.ask("POST", "/sign-in", token="", data={"token": browser.token})
    assert (await browser.ask("GET", "/watch/demo", token=""))[0] == 200
    assert (await browser.ask("GET", "/live/demo/state", token=""))[0] == 200


async def test_all_the_page_needs_is_served_and_nothing_in_it_breaks_the_policy(app: App, browser: Browser) -> None:
    await app.control.change_channel("demo", ChannelChange(viewers="public"))
    _, page, response = await browser.ask("GET", "/watch/demo", token="")
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(wanted) == 4
    for path in wanted:
        assert (await browser.ask("GET", path, token=""))[0] == 200, path
    named = set(re.findall(r'\bat\("([\w-]+)"\)', Path("relay/web/static/player.js").read_text("utf-8")))
    assert named
    assert named <= set(re.findall(r'\bid="([\w-]+)"', page))
    buttons = re.findall(r"<button[^>]*>.*?</button>", page, re.DOTALL)
    assert all("aria-label" in item or re.search(r">\s*[A-Z]", item) or 'id="remedy"' in item for item in buttons)


async def test_a_link_opens_page_and_playlist_until_it_expires(app: App, browser: Browser) -> None:
    status, link, _ = await browser.ask("POST", "/api/v1/channels/demo/link", json={"hours": 1})
    assert status == 200
    expires = int(link["watch_url"].partition("expires=")[2].partition("&")[0])
    assert 3590 <= expires - time.time() <= 3600
    for name in ("watch_url", "playback_url"):
        path = link[name].removeprefix(browser.base)
        status, body, _ = await browser.ask("GET", path, token="")
        assert status == (200 if name == "watch_url" else 404), body  # there is nothing to play yet
        assert (await browser.ask("GET", path[:-1] + ("0" if path[-1] != "0" else "1"), token=""))[0] == 401
    assert (await browser.ask("POST", "/api/v1/channels/demo/link", json={"hours": 0}))[0] == 422
    assert (await browser.ask("POST", "/api/v1/channels/none/link", json={}))[0] == 404


async def test_other_names_are_recordings_for_the_operator(browser: Browser) -> None:
    status, _, response = await browser.ask("GET", "/watch/20250101T000000Z-abcdef", token="")
    assert (status, response.headers["Location"]) == (303, "/sign-in")
