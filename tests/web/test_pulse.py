"""The pulse: first everything, then only what changed; the log as it is said; nothing for who may no longer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from relay.app import App
from relay.control.models import NewChannel, NewDestination
from relay.web.pulse import difference
from tests.support.app import Browser
from tests.web.signing import add_user, sign_in


class Heard:
    """Events of one listener, read one by one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, kind: str = "state", within: float = 20.0) -> Any:
        """The data of the next event of that kind; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(within):
            async for line in self._response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif fields.get("event") == kind:
                    return json.loads(fields["data"])
                else:
                    fields = {}
        return None


@contextlib.asynccontextmanager
async def listening(browser: Browser, query: str = "", token: str | None = None) -> AsyncIterator[Heard]:
    shown = browser.token if token is None else token
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    async with browser._session.get(f"{browser.base}/api/v1/pulse?{query}", headers=headers) as response:
        assert response.content_type == "text/event-stream"
        yield Heard(response)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 3}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"y": 3}}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": None}}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_only_what_is_new_is_told(before: dict[str, Any], now: dict[str, Any], told: dict[str, Any]) -> None:
    assert difference(before, now) == told


async def test_every_channel_and_then_what_changes(app: App, browser: Browser) -> None:
    async with listening(browser) as heard:
        first = await heard.next()
        assert first["demo"]["state"] == "offline"
        await app.control.create_channel(NewChannel(name="rally"))
        assert set(await heard.next()) == {"rally"}
        await app.control.delete_channel("rally")
        assert await heard.next() == {"rally": None}


async def test_one_channel_in_detail_until_it_is_gone(app: App, browser: Browser) -> None:
    await app.control.create_channel(NewChannel(name="rally"))
    async with listening(browser, "channel=rally") as heard:
        first = await heard.next()
        assert (first["state"], first["destinations"]) == ("offline", {})
        wanted = NewDestination(name="own", url="rtmp://198.51.100.1/live", key="k", enabled=False)
        await app.control.add_destination("rally", wanted)
        told = await heard.next()
        assert set(told) == {"destinations"}
        assert told["destinations"]["own"]["state"] == "paused"
        await app.control.delete_channel("rally")
        assert await heard.next("gone") == {}
        assert await heard.next("gone") is None
    status, body, _ = await browser.ask("GET", "/api/v1/pulse?channel=rally")
    assert (status, body["error"]["code"]) == (404, "not_found")


async def test_the_log_follows_and_goes_on_where_a_listener_left_off(app: App, browser: Browser) -> None:
    events = app.web._console._pulse._events
    key = app.control.channel("demo").stream_key

    def say(words: str) -> None:
        events(None, "info", {"event": words, "level": "info", "timestamp": "t", "channel": "demo"})

    say("first")
    async with listening(browser, "channel=demo&log=1") as heard:
        assert (await heard.next("log"))["words"] == "First"
        say(f"second {key}")
        second = await heard.next("log")
        assert second["words"] == "Second ********"
    say("third")
    async with listening(browser, f"channel=demo&log=1&after={second['number']}") as heard:
        assert (await heard.next("log"))["words"] == "Third"
    _, body, _ = await browser.ask("GET", "/api/v1/events?channel=demo")
    assert [event["words"] for event in body["events"]] == ["First", "Second ********", "Third"]
    _, body, _ = await browser.ask("GET", f"/api/v1/events?after={second['number']}")
    assert [event["words"] for event in body["events"]] == ["Third"]


async def test_it_ends_with_the_session(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "viewer")
    await sign_in(browser, "anna")
    async with listening(browser, token="") as heard:
        assert "demo" in await heard.next()
        await app.web.users.remove("anna")
        assert await heard.next() is None


async def test_there_are_only_so_many_listeners(app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.web.pulse.LISTENERS", 1)
    async with listening(browser) as heard:
        await heard.next()
        assert (await browser.ask("GET", "/api/v1/pulse"))[0] == 503
    deadline = asyncio.get_running_loop().time() + 20
    while app.web._console._pulse._listeners:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)
    async with listening(browser) as heard:
        assert "demo" in await heard.next()


async def test_the_past_of_a_channel(browser: Browser) -> None:
    status, body, _ = await browser.ask("GET", "/api/v1/channels/demo/history")
    assert (status, body) == (200, {"samples": [], "fields": ["at", "kbps", "fps", "lag_s"]})
    assert (await browser.ask("GET", "/api/v1/channels/none/history"))[0] == 404
