"""Pulling HLS: what ffmpeg made arrives unit by unit, in every form; sources that end, begin anew, or give way."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.app import App
from relay.hub import StreamState
from tests.ingest.pulling import CHANNEL, Kept, pull, source_is, until
from tests.support import clips, hls
from tests.support.app import running_app
from tests.support.origin import Origin, origin
from tests.support.publisher import Publisher

SHORT = clips.Clip("h264-b-short", clips.H264_B.video, clips.H264_B.audio, seconds=6)
LIMITS = {"retry_first_s": 0.1, "retry_most_s": 0.3}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path / "near", limits=LIMITS, archive={"store": "off"}) as app:
        yield app


@pytest.fixture
async def site() -> AsyncIterator[Origin]:
    async with origin() as made:
        yield made


async def serve(site: Origin, kind: str, folder: Path, *more: str, at: str = "") -> Path:
    """The short clip as HLS of ``kind`` at the origin; the clip."""
    clip = await asyncio.to_thread(clips.make, SHORT)
    made = await asyncio.to_thread(hls.make, clip, kind, folder, *more)
    site.files |= {f"{at}/{name}": data for name, data in made.items()}
    return clip


def kept_units(kept: Kept) -> tuple[list[str], list[str]]:
    return hls.units((packet.is_video, packet.data) for packet in kept.packets)


@pytest.mark.parametrize("kind", hls.KINDS)
async def test_every_unit_arrives_in_order_and_the_end_is_clean(
    kind: str, app: App, site: Origin, tmp_path: Path
) -> None:
    clip = await serve(site, kind, tmp_path / "hls", "-hls_playlist_type", "vod")
    kept = Kept(app)
    await pull(app, f"{site.url}/index.m3u8")
    await source_is(app, "idle", "ended its stream", within_s=40)
    video, audio = kept_units(kept)
    sent_video, sent_audio = hls.flv_units(clip)
    assert video == sent_video
    assert audio == sent_audio
    for is_video in (True, False):
        times = [packet.dts_ms for packet in kept.packets if packet.is_video is is_video]
        assert times == sorted(set(times))
        assert abs(times[-1] - times[0] - 6000) < 200
    stream = app.hub.stream(CHANNEL)
    assert (stream.state, stream.ended_cleanly) == (StreamState.OFFLINE, True)


async def test_the_variant_that_fits_is_chosen(app: App, site: Origin, tmp_path: Path) -> None:
    await serve(site, "ts", tmp_path / "hls", "-hls_playlist_type", "vod", at="/low")
    site.files["/index.m3u8"] = (
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360\nlow/index.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=9000000,RESOLUTION=1920x1080\nhigh/index.m3u8\n"
    )
    await pull(app, f"{site.url}/index.m3u8", max_kbps=1000)
    view = await source_is(app, "live")
    assert view.max_kbps == 1000
    assert "/high/index.m3u8" not in site.paths()
    shown = app.control.channel(CHANNEL)
    assert shown.publisher is not None
    assert shown.publisher.protocol == "hls pull"
    assert app.links.bytes_received[CHANNEL] > 100_000


async def test_a_publisher_with_the_key_has_the_channel_first(app: App, site: Origin, tmp_path: Path) -> None:
    await serve(site, "ts", tmp_path / "hls")
    whole = site.files["/index.m3u8"]
    assert isinstance(whole, bytes)
    site.files["/index.m3u8"] = whole.replace(b"#EXT-X-ENDLIST\n", b"")
    clip = await asyncio.to_thread(clips.make, clips.H264)
    await pull(app, f"{site.url}/index.m3u8")
    await source_is(app, "live")
    key = app.control.channel(CHANNEL).stream_key
    async with Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{key}") as here:
        await here.send(clip, speed=4, until_ms=3000)
        assert here.ended is None
        await source_is(app, "idle", "somebody publishes")
        site.files["/index.m3u8"] = whole.replace(b"MEDIA-SEQUENCE:0", b"MEDIA-SEQUENCE:3")
    await source_is(app, "live")


async def test_removing_a_source_ends_its_stream(app: App, site: Origin, tmp_path: Path) -> None:
    await serve(site, "ts", tmp_path / "hls", "-hls_playlist_type", "vod")
    await pull(app, f"{site.url}/index.m3u8")
    await source_is(app, "live")
    app.pulls.configure(CHANNEL, None)
    await until(lambda: app.hub.stream(CHANNEL).state is StreamState.OFFLINE, "ended")


async def test_an_event_that_ended_before_is_left_alone_and_one_that_goes_on_is_followed(
    app: App, site: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.ingest.hls_pull.ENDED_S", 0.5)
    await serve(site, "ts", tmp_path / "hls", "-hls_playlist_type", "event")
    whole = site.files["/index.m3u8"]
    assert isinstance(whole, bytes)
    entries = re.split(r"(?=#EXTINF)", whole.decode())
    assert len(entries) > 3
    site.files["/index.m3u8"] = "".join(entries[:2]) + "#EXT-X-ENDLIST\n"
    kept = Kept(app)
    await pull(app, f"{site.url}/index.m3u8")
    await source_is(app, "idle", "ended its stream")
    assert kept.packets == []
    site.files["/index.m3u8"] = whole
    await until(lambda: kept.packets, "what came afterwards")
    await source_is(app, "idle", "ended its stream", within_s=30)
    assert "/index0.ts" not in site.paths()


@pytest.mark.parametrize(
    ("store", "kind", "names"),
    [
        ("off", "ts", ["/index.m3u8"]),
        ("file:archive", "ts", ["/index.m3u8"]),
        ("off", "sound-apart", ["/list_0.m3u8", "/list_1.m3u8"]),
    ],
)
async def test_a_source_that_begins_anew_goes_on_as_the_same_stream(
    store: str, kind: str, names: list[str], site: Origin, tmp_path: Path
) -> None:
    """An origin that is started again counts from 0, and its clock does; what an archive has noted is of no matter."""
    async with running_app(tmp_path / "near", limits=LIMITS, archive={"store": store}) as app:
        await serve(site, kind, tmp_path / "hls")
        lists: dict[str, list[str]] = {}
        for name in names:
            whole = site.files[name]
            assert isinstance(whole, bytes)
            lists[name] = re.split(r"(?=#EXTINF)", whole.decode().replace("#EXT-X-ENDLIST\n", ""))
            site.files[name] = "".join(lists[name]).replace("MEDIA-SEQUENCE:0", "MEDIA-SEQUENCE:700")
        kept = Kept(app)
        await pull(app, f"{site.url}/index.m3u8")
        before = 180
        await until(lambda: len(kept.digests(video=True)) == before, "all of the first")
        for number in range(1, 6):
            for name in names:
                site.files[name] = "".join(lists[name][: number + 1])
            await asyncio.sleep(1.5)
            if len(kept.digests(video=True)) > before + 30:
                break
        await until(lambda: len(kept.digests(video=True)) > before + 30, "gone on")
        for is_video in (True, False):
            times = [packet.dts_ms for packet in kept.packets if packet.is_video is is_video]
            assert times == sorted(set(times))
        video, _ = kept_units(kept)
        assert len(video) > len(set(video)), "nothing came a second time"
        assert kept.ends == 0
        view = app.control.channel(CHANNEL).source
        assert view is not None
        assert view.attempts == 1


async def test_after_hours_away_it_goes_on_where_the_source_is(
    app: App, site: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.ingest.hls_lane.RELOAD_FOR_S", 0.2)
    await serve(site, "ts", tmp_path / "hls")
    whole = site.files["/index.m3u8"]
    assert isinstance(whole, bytes)
    site.files["/index.m3u8"] = live = whole.replace(b"#EXT-X-ENDLIST\n", b"")
    kept = Kept(app)
    await pull(app, f"{site.url}/index.m3u8")
    await until(lambda: len(kept.digests(video=True)) == 180, "all there is")
    files, site.files = site.files, {}
    await source_is(app, "retrying", "answers 404")
    assert app.hub.stream(CHANNEL).state is StreamState.HOLDING
    assert len(kept.digests(video=True)) == 180
    site.files = files | {"/index.m3u8": live.replace(b"MEDIA-SEQUENCE:0", b"MEDIA-SEQUENCE:7000")}
    await source_is(app, "live")
    await until(lambda: len(kept.digests(video=True)) == 360, "all there is now")
    times = [packet.dts_ms for packet in kept.packets if packet.is_video]
    assert times == sorted(set(times))
    assert times[180] - times[179] < 60_000  # no thousands of segments are reckoned missing


async def test_a_disk_that_takes_nothing_holds_up_no_viewer(
    app: App, site: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.ingest.hls_pull.PATIENCE_S", 0.2)
    await serve(site, "ts", tmp_path / "hls", "-hls_playlist_type", "vod")
    stream = app.hub.stream(CHANNEL)
    stream.set_keeper(True)  # and it commits nothing
    kept = Kept(app)
    await pull(app, f"{site.url}/index.m3u8")
    await until(lambda: len(kept.digests(video=True)) == 180, "all of it")
    assert stream.durable_seq == 0
    await until(lambda: stream.stats.video_packets > 60, "shown")
