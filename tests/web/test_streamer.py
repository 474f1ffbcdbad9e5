"""The streamer's page over HTTP: who gets in, what is sent, what is never sent."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import structlog

from relay.app import App
from relay.control.panel import Panel
from relay.web import streamer
from relay.web.streamer import changes
from tests.support.app import Browser, browsing, running_app


async def link(app: App) -> str:
    """The path of a fresh link to ``demo``."""
    _, token = await app.control.shares.create("demo")
    return f"/s/{token.reveal()}"


def panel(**values: object) -> Panel:
    known = dict.fromkeys(Panel.model_fields, "") | {"tone": "good", "places": {}}
    return Panel.model_validate({**known, **values})


async def test_the_page_comes_without_a_login_and_is_kept_by_nobody(app: App, browser: Browser) -> None:
    status, html, response = await browser.ask("GET", await link(app), token="")
    assert status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in response.headers["X-Robots-Tag"]
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
    channel = app.control.channel("demo")
    assert f"{channel.publish_url}/{channel.stream_key}" in html
    assert channel.read_key not in html
    assert app.token.reveal() not in html
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", html)  # the policy forbids them


async def test_a_fault_is_logged_without_the_link(app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await link(app)
    monkeypatch.setattr(app.control.panels, "look", None)
    with structlog.testing.capture_logs() as logs:
        assert (await browser.ask("GET", f"{path}/state", token=""))[0] == 500
    assert [entry["path"] for entry in logs if entry["event"] == "request failed"] == ["/s/{token}/state"]
    assert path.removeprefix("/s/") not in str(logs)


async def test_all_that_is_loaded_at_first_fits_in_30_kb(app: App, browser: Browser) -> None:
    path = await link(app)
    _, html, _ = await browser.ask("GET", path, token="")
    parts = re.findall(r'(?:href|src)="(/s/assets/[^"]+)"', html)
    assert len(parts) == 2
    sizes = [len(html.encode())]
    for part in parts:
        status, text, response = await browser.ask("GET", part, token="")
        assert status == 200
        assert "immutable" in response.headers["Cache-Control"]
        sizes.append(len(text.encode()))
    assert sum(sizes) < 20_000, sizes


@pytest.mark.parametrize("tail", ["", "/state", "/events", "/qr/url.svg"])
async def test_wrong_links_open_nothing_and_too_many_are_told_to_wait(tail: str, app: App, browser: Browser) -> None:
    right = await link(app)
    for number in range(10):
        status, text, response = await browser.ask("GET", f"/s/wrong{number}{tail}", token="")
        assert status == 404
        assert "demo" not in str(text)
        assert response.headers["Referrer-Policy"] == "no-referrer"
    status, _, _ = await browser.ask("GET", f"/s/wrong{tail}", token="")
    assert status == 429
    status, _, _ = await browser.ask("GET", f"{right}/state", token="")
    assert status == 200  # a phone shares its address with strangers


async def test_a_link_taken_back_or_expired_closes_every_part(app: App, browser: Browser) -> None:
    view, token = await app.control.shares.create("demo")
    path = f"/s/{token.reveal()}"
    parts = ("", "/state", "/qr/larix.svg")
    assert [(await browser.ask("GET", path + part, token=""))[0] for part in parts] == [200, 200, 200]
    await app.control.shares.revoke(view.id)
    assert [(await browser.ask("GET", path + part, token=""))[0] for part in parts] == [404, 404, 404]


async def test_there_is_nothing_else_beneath_it(app: App, browser: Browser) -> None:
    path = await link(app)
    for part in (f"{path}/qr/key.svg", "/s/assets/page.html", "/s/assets/..%2f..%2fconsole.css", "/s/", f"{path}/x"):
        status, _, _ = await browser.ask("GET", part, token="")
        assert status == 404, part


async def test_refreshing_is_only_ever_as_often_as_we_say(app: App, browser: Browser) -> None:
    path = await link(app)
    _, html, _ = await browser.ask("GET", f"{path}?refresh=0%22%3E%3Cscript%3E", token="")
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in html
    assert "<script>" not in html


async def test_events_tell_what_changes_and_when_the_link_is_gone(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamer, "EVERY_S", 0.05)
    monkeypatch.setattr(streamer, "QUIET_S", 0.2)
    view, token = await app.control.shares.create("demo")
    base = f"http://127.0.0.1:{app.web.port}/s/{token.reveal()}"
    async with aiohttp.ClientSession() as session, session.get(f"{base}/events") as response:
        assert response.content_type == "text/event-stream"
        events = told(response)
        first = json.loads((await anext(events))[1])
        assert first["head"] == "Waiting for your phone"
        assert await anext(events) == ("quiet", "{}")
        await app.control.shares.revoke(view.id)
        async with asyncio.timeout(20):
            assert [name async for name, _ in events][-1] == "gone"


async def told(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str]]:
    """(event, data) of each server-sent event."""
    name, data = "message", ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        else:
            yield name, data
            name = "message"


async def test_pages_of_one_link_are_counted_and_given_back(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamer, "PAGES_PER_LINK", 2)
    base = f"http://127.0.0.1:{app.web.port}{await link(app)}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/events") as one, session.get(f"{base}/events") as two:
            await one.content.readline()
            await two.content.readline()
            async with session.get(f"{base}/events") as three:
                assert three.status == 503
        async with asyncio.timeout(20):
            while True:
                async with session.get(f"{base}/events") as again:
                    if again.status == 200:
                        break
                await asyncio.sleep(0.1)


async def test_a_relay_that_stops_lets_pages_go_at_once(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with running_app(tmp_path) as app:
            response = await session.get(f"http://127.0.0.1:{app.web.port}{await link(app)}/events")
            await response.content.readline()
        async with asyncio.timeout(5):
            assert b"Waiting" not in await response.read()


async def test_behind_a_proxy_the_proxys_word_says_who_asks(tmp_path: Path) -> None:
    http = {"listen": "127.0.0.1:0", "behind_proxy": True}
    async with running_app(tmp_path, http=http) as app, browsing(app) as browser:
        for address, expected in (("198.51.100.7", 429), ("198.51.100.8", 404)):
            for _ in range(11 if expected == 429 else 1):
                headers = {"X-Forwarded-For": f"203.0.113.5, {address}"}
                status, _, _ = await browser.ask("GET", "/s/wrong", token="", headers=headers)
            assert status == expected


def test_only_what_changed_is_told() -> None:
    before = panel(head="a", places={"x": ("X", "good", "Live"), "y": ("Y", "idle", "Off")})
    after = panel(head="a", sub="new", places={"x": ("X", "bad", "Gone"), "z": ("Z", "idle", "Off")})
    assert changes({}, before) == before.model_dump()
    assert changes(before.model_dump(), before) == {}
    assert changes(before.model_dump(), after) == {
        "sub": "new",
        "places": {"x": ("X", "bad", "Gone"), "z": ("Z", "idle", "Off"), "y": None},
    }
