"""Panel: the words for what happens, out of the views of the API."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.app import App
from relay.control import models
from relay.control.panel import Panel, begun, clock
from relay.errors import NotFoundError
from tests.support.app import running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher


async def look(app: App, **changes: Any) -> Panel:
    """The panel of a channel like ``demo``, but for ``changes`` of its view."""
    view = app.control.channel("demo").model_copy(update=changes)
    panels = app.control.panels
    panels._kept.clear()
    before, panels._channel = panels._channel, lambda _: view
    try:
        return await panels.look("demo")
    finally:
        panels._channel = before


def place(**values: Any) -> models.DestinationView:
    return models.DestinationView(
        name=values.pop("name", "a"),
        platform=values.pop("platform", "custom"),
        kind="rtmp",
        url="rtmp://h/a",
        hold=values.pop("hold", models.HoldOptions()),
        fit=None,
        ensure_audio="auto",
        on_change="auto",
        method="PUT",
        backup=False,
        state=values.pop("state", "live"),
        last_error=values.pop("last_error", ""),
        bytes_sent=0,
        attempts=1,
        dropped_packets=0,
        backlog_s=0,
    )


def health(quality: str, **values: Any) -> models.HealthView:
    known = {"kbps_10s": 900, "kbps_60s": 900, "lag_s": 0.2, "stalls": 0, "suggested_kbps": 0, "words": ""}
    return models.HealthView.model_validate({"quality": quality, **known, **values})


def test_host_names_keep_their_small_letters() -> None:
    assert begun("a.rtmps.example cannot be looked up") == "a.rtmps.example cannot be looked up"
    assert (begun("cannot connect"), begun("")) == ("Cannot connect", "")


async def test_each_state_has_its_words(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        waiting = await look(app)
        assert (waiting.tone, waiting.head) == ("idle", "Waiting for your phone")
        live = await look(app, state="live", health=health("good", suggested_kbps=950))
        assert (live.tone, live.head, live.link, live.advice) == (
            "good", "You are live", "Good: 900 kbit/s", "950 kbit/s",
        )  # fmt: skip
        weak = await look(app, state="live", health=health("poor", lag_s=3.2, stalls=2))
        assert (weak.tone, weak.link) == ("warn", "Poor: 900 kbit/s, 3 s late, 2 stalls in a minute")
        held = await look(app, state="holding", destinations=[place()])
        assert (held.tone, held.head) == ("bad", "Link lost")
        assert held.sub.startswith("Viewers see the last picture, 2:00 left")
        slate = models.HoldOptions(mode="slate", slate="a.png")
        held = await look(app, state="holding", destinations=[place(hold=slate)])
        assert held.sub.startswith("Viewers see the pause picture")
        held = await look(app, state="holding", destinations=[place(hold=models.HoldOptions(mode="off"))])
        assert held.sub.startswith("Viewers see nothing new")
        assert (await look(app, state="live", is_contested=True)).tone == "bad"
        full = await look(app, state="live", recording_paused=True)
        assert (full.tone, full.recorded) == ("bad", "Not recorded now: the relay's disk is full")


async def test_each_platforms_state_has_its_words(tmp_path: Path) -> None:
    places = [
        place(name="a", platform="youtube"),
        place(name="b", state="retrying", last_error="x" * 500),
        place(name="c", state="disabled"),
        place(name="d", state="connecting"),
        place(name="twitch", platform="twitch", state="retrying", last_error="live.twitch.tv closed the connection"),
    ]
    async with running_app(tmp_path) as app:
        shown = (await look(app, state="live", health=health("good"), destinations=places)).places
        assert shown["a"] == ("YouTube (a)", "good", "Live")
        assert shown["b"][1] == "bad"
        assert len(shown["b"][2]) < 200
        assert [shown[name][1] for name in "cd"] == ["idle", "warn"]
        assert shown["twitch"][0] == "Twitch"
        assert "again. live.twitch.tv closed" in shown["twitch"][2]
        held = (await look(app, state="holding", destinations=places)).places
        assert held["a"][1:] == ("warn", "Kept while your link is away")


async def test_what_is_recorded_and_safe_is_counted(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    async with running_app(tmp_path) as app:
        assert (await app.control.panels.look("demo")).recorded == "Nothing recorded yet"
        key = app.control.channel("demo").stream_key
        publisher = Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{key}")
        await publisher.open()
        await publisher.send(clip, speed=None, until_ms=9000)
        await once(app, lambda seen: seen.recorded.endswith(" recorded") and not seen.recorded.startswith("0:00"))
        await publisher.close()
        seen = await once(app, lambda seen: seen.safe[:4] in ("0:08", "0:09"))
        assert seen.recorded.endswith("in the last recording")
        assert seen.gaps == "No gaps"


async def once(app: App, is_so: Callable[[Panel], bool], within: float = 30.0) -> Panel:
    """The panel, once ``is_so``."""
    until = time.monotonic() + within
    while not is_so(seen := await app.control.panels.look("demo")):
        assert time.monotonic() < until, seen
        await asyncio.sleep(0.1)
    return seen


async def test_without_an_archive_it_says_so(tmp_path: Path) -> None:
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        assert (await app.control.panels.look("demo")).recorded == "Nothing is recorded here"
        with pytest.raises(NotFoundError):
            await app.control.panels.look("none")


def test_clocks() -> None:
    assert [clock(value) for value in (0, 5.9, 65, 3600, 36_005)] == ["0:00", "0:05", "1:05", "1:00:00", "10:00:05"]
