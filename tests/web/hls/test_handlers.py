"""Live playback over HTTP: what may wait, what caches may keep, and what is refused in words."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.app import App
from relay.control.models import ChannelChange
from relay.errors import MediaError
from relay.protocol import mp4
from relay.web.hls.muxer import Muxer
from tests.support.app import Browser, browsing, running_app
from tests.support.clips import AUDIO_ONLY, H264, Clip, make
from tests.support.hls_rules import read
from tests.support.publisher import Publisher

MAIN = "/live/demo/main.m3u8"


@contextlib.asynccontextmanager
async def live(app: App, clip: Clip = H264, *, seconds: float = 5) -> AsyncIterator[tuple[Publisher, Muxer]]:
    """A publisher that has sent some seconds at once, and stays silent; what was cut of it."""
    app.live.watched("demo").asked("somebody")
    source = await asyncio.to_thread(make, clip)
    url = f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{app.control.channel('demo').stream_key}"
    async with Publisher(url) as publisher:
        await publisher.send(source, speed=None, until_ms=round(seconds * 1000))
        deadline = time.monotonic() + 10
        while (muxer := app.live.muxer("demo")) is None or not muxer.target_s or muxer._last_ms < seconds * 1000 - 100:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        yield publisher, muxer


async def test_what_is_asked_for_waits_until_it_is_there(app: App, browser: Browser) -> None:
    async with live(app) as (publisher, muxer):
        assert muxer.open is not None
        number, part = muxer.open.number, len(muxer.open.parts)
        _, text, _ = await browser.ask("GET", MAIN)
        hint = read(text).hint
        asked = {
            "part": asyncio.create_task(browser.ask("GET", f"{MAIN}?_HLS_msn={number}&_HLS_part={part}")),
            "skip": asyncio.create_task(browser.ask("GET", f"{MAIN}?_HLS_msn={number}&_HLS_part={part}&_HLS_skip=YES")),
            "segment": asyncio.create_task(browser.ask("GET", f"{MAIN}?_HLS_msn={number}")),
            "hint": asyncio.create_task(browser.ask("GET", f"/live/demo/{hint}")),
        }
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in asked.values())
        source = await asyncio.to_thread(make, H264)
        await publisher.send(source, speed=None, offset_ms=5034, until_ms=700)
        for name in ("part", "skip", "hint"):
            status, text, response = await asked[name]
            assert status == 200, (name, text)
            assert name == "hint" or read(text).segments[-1].number == number
            assert "max-age=" in response.headers["Cache-Control"]
        assert not asked["segment"].done()
        await publisher.send(source, speed=None, offset_ms=5734)
        status, text, _ = await asked["segment"]
        assert (status, read(text).closed[-1].number >= number) == (200, True)


async def test_what_cannot_come_is_refused_at_once_and_what_does_not_come_in_time_later(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(app) as (_, muxer):
        assert muxer.open is not None
        number = muxer.open.number
        for query, expected in (
            (f"_HLS_msn={number + 3}", 400),
            (f"_HLS_msn={number}&_HLS_part=40", 400),
            ("_HLS_part=1", 400),
            ("_HLS_msn=x", 400),
            ("_HLS_msn=-1", 400),
            (f"_HLS_msn={number}&_HLS_part=%31%00", 400),
            (f"_HLS_msn={number - 1}&_HLS_part=0", 200),
            ("_HLS_msn=0", 200),
            ("_HLS_skip=YES", 200),
            ("_HLS_unknown=1", 200),
        ):
            started = time.monotonic()
            status, body, _ = await browser.ask("GET", f"{MAIN}?{query}")
            assert status == expected, (query, body)
            assert time.monotonic() - started < 5
        monkeypatch.setattr("relay.web.hls.handlers.BLOCK_TARGETS", 0.1)
        status, body, response = await browser.ask("GET", f"{MAIN}?_HLS_msn={number}")
        assert (status, body["error"]["code"]) == (503, "later")
        assert response.headers["Retry-After"]
        assert response.headers["Cache-Control"] == "no-store"


async def test_caches_keep_media_for_ever_and_playlists_for_a_moment(app: App, browser: Browser) -> None:
    async with live(app) as (_, muxer):
        number = muxer.segments[0].number
        key = app.control.channel("demo").read_key
        for viewers, scope in (("signed", "private"), ("public", "public")):
            await app.control.change_channel("demo", ChannelChange(viewers=viewers))  # type: ignore[arg-type]
            paths = {
                "index": "/live/demo/index.m3u8",
                "playlist": MAIN,
                "past": f"{MAIN}?_HLS_msn={number}&_HLS_part=0",
                "init": f"/live/demo/{muxer.run}/{muxer.first_epoch}.mp4",
                "segment": f"/live/demo/{muxer.run}/{number}.m4s",
                "part": f"/live/demo/{muxer.run}/{number}a.1.m4s",
            }
            seen: dict[str, Any] = {}
            for name, path in paths.items():
                address = path + ("&" if "?" in path else "?") + f"key={key}"
                status, body, response = await browser.ask("GET", address, token="")
                assert status == 200, (name, body)
                seen[name] = response.headers["Cache-Control"].split(", ")
                etag = response.headers["ETag"]
                again, empty, _ = await browser.ask("GET", address, token="", headers={"If-None-Match": etag})
                assert (again, empty) == (304, "")
                head, empty, headers = await browser.ask("HEAD", address, token="")
                assert (head, empty, headers.headers["ETag"]) == (200, "", etag)
                assert headers.headers["Content-Length"] == response.headers["Content-Length"]
                assert headers.headers["Content-Type"] == response.headers["Content-Type"]
            assert {values[0] for values in seen.values()} == {scope}
            assert seen["index"][1:] == ["no-cache"]
            assert seen["playlist"][1:] == ["max-age=1"]
            assert seen["past"][1:] == [f"max-age={6 * muxer.target_s}"]
            for name in ("init", "segment", "part"):
                assert seen[name][1:] == ["max-age=31536000", "immutable"]


async def test_types_and_bytes_are_those_of_cmaf(app: App, browser: Browser) -> None:
    async with live(app) as (_, muxer):
        token = {"Authorization": f"Bearer {browser.token}"}

        async def get(path: str) -> tuple[str, bytes]:
            async with browser._session.get(f"{browser.base}{path}", headers=token) as response:
                assert response.status == 200
                return response.content_type, await response.read()

        base = f"/live/demo/{muxer.run}"
        number = muxer.segments[0].number
        kind, init = await get(f"{base}/{muxer.first_epoch}.mp4")
        assert (kind, len(mp4.read_init(init))) == ("video/mp4", 2)
        kind, whole = await get(f"{base}/{number}.m4s")
        assert kind == "video/iso.segment"
        parts = [(await get(f"{base}/{number}.{part}.m4s"))[1] for part in range(len(muxer.segments[0].cuts))]
        assert b"".join(parts) == whole
        assert (await get(MAIN))[0] == "application/vnd.apple.mpegurl"
        assert (await get("/live/demo/index.m3u8"))[0] == "application/vnd.apple.mpegurl"


async def test_what_is_not_there_is_said_in_words(app: App, browser: Browser) -> None:
    for path in (MAIN, "/live/demo/index.m3u8", "/live/demo/other.m3u8", "/live/demo/x/1.m4s", "/live/none/main.m3u8"):
        status, body, _ = await browser.ask("GET", path)
        assert (status, bool(body["error"]["message"])) == (404, True), path
    async with live(app) as (_, muxer):
        base = f"/live/demo/{muxer.run}"
        assert muxer.open is not None
        for name in (
            "0.mp4", "0.m4s", f"{muxer.open.number}.m4s", f"{muxer.open.number}.99.m4s",
            f"{muxer.segments[0].number}.99.m4s", f"{muxer.open.number + 1}.0.m4s",
            "..%2f..%2fadmin.token", "1.m4s%00", "x.m4s",
        ):  # fmt: skip
            status, body, _ = await browser.ask("GET", f"{base}/{name}")
            assert status == 404, name
            assert browser.token not in str(body)


async def test_the_state_tells_a_page_what_there_is(app: App, browser: Browser) -> None:
    async def state() -> Any:
        return (await browser.ask("GET", "/live/demo/state"))[1]

    assert (await state())["state"] == "offline"
    async with live(app):
        found = await state()
        assert (found["state"], found["codecs"], found["has_audio"]) == ("live", "avc1.42c01e,mp4a.40.2", True)
        assert found["dvr_s"] == pytest.approx(4, abs=0.5)
        lease = app.hub.lease("demo")
        assert lease is not None
        lease.stalled()
        assert (await state())["state"] == "holding"
        app.hub.end("demo")
        assert (await state())["state"] == "ended"
        _, text, _ = await browser.ask("GET", f"{MAIN}?_HLS_msn=9999999999999")
        assert "#EXT-X-ENDLIST" in text


async def test_a_stream_of_sound_alone_has_no_second_rendition(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app, browsing(app) as browser, live(app, AUDIO_ONLY):
        _, text, _ = await browser.ask("GET", "/live/demo/index.m3u8")
        assert text.count("#EXT-X-STREAM-INF") == 1
        assert (await browser.ask("GET", "/live/demo/state"))[1]["has_audio"] is False


async def test_a_long_playlist_is_sent_compressed_to_those_who_can(app: App, browser: Browser) -> None:
    async with live(app, seconds=11):
        sizes = {}
        for coding in ("gzip", "identity"):
            _, text, response = await browser.ask("GET", MAIN, headers={"Accept-Encoding": coding})
            assert text.startswith("#EXTM3U")
            sizes[coding] = int(response.headers["Content-Length"])
            assert "Accept-Encoding" in response.headers["Vary"]
        assert sizes["gzip"] * 2 < sizes["identity"]


async def test_viewers_are_counted(app: App, browser: Browser) -> None:
    async with live(app) as (_, muxer):
        number = muxer.segments[0].number
        for path in ("index.m3u8", "main.m3u8", f"{muxer.run}/{number}.m4s", f"{muxer.run}/{number}.0.m4s"):
            assert (await browser.ask("GET", f"/live/demo/{path}"))[0] == 200
        _, text, _ = await browser.ask("GET", "/metrics")
        for kind in ("multivariant", "playlist", "segment", "part"):
            assert f'relay_viewer_requests_total{{channel="demo",kind="{kind}"}} 1.0' in text
        assert 'relay_viewers{channel="demo"} 2.0' in text, "the one who waited for the stream, and this one"
        sent = next(line for line in text.splitlines() if line.startswith("relay_viewer_bytes_total"))
        assert float(sent.split()[-1]) > muxer.segments[0].size
        assert f"relay_viewer_kept_bytes {float(muxer.window.kept_bytes)}" in text


async def test_what_cannot_be_packaged_is_said_in_words(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise MediaError("vp8 cannot be packaged as MP4")

    monkeypatch.setattr("relay.web.hls.cut.init_segment", refuse)
    async with live(app) as (_, muxer):
        for name in (f"{muxer.first_epoch}.mp4", f"{muxer.segments[0].number}.m4s"):
            status, body, _ = await browser.ask("GET", f"/live/demo/{muxer.run}/{name}")
            assert (status, body["error"]["code"]) == (404, "not_found")
            assert "vp8 cannot be packaged" in body["error"]["message"]
