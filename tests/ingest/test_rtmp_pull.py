"""Pulling over RTMP: packets as they were published, servers that refuse, fall silent or talk nonsense, and turns."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.app import App
from relay.hub import StreamState
from relay.ingest.rtmp_pull import PullConnection
from relay.protocol.rtmp.events import PlayRequested
from relay.protocol.rtmp.server import ServerConnection
from tests.egress import servers
from tests.ingest.pulling import CHANNEL, Kept, pull, source_is, until
from tests.support import clips
from tests.support.app import running_app
from tests.support.collector import no_collector
from tests.support.publisher import Publisher

LIMITS = {
    "dial_s": 1.0,
    "first_media_s": 1.5,
    "media_stalled_s": 0.6,
    "media_closed_s": 30.0,
    "retry_first_s": 0.1,
    "retry_most_s": 0.3,
}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path / "near", limits=LIMITS, archive={"store": "off"}) as app:
        yield app


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(tmp_path / "far", archive={"store": "off"}) as app:
        yield app


def publisher(app: App) -> Publisher:
    key = app.control.channel(CHANNEL).stream_key
    return Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{key}")


def play_url(app: App) -> str:
    return f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{CHANNEL}?key={app.control.channel(CHANNEL).read_key}"


async def test_attempts_that_failed_are_gone_without_the_collector(app: App) -> None:
    async with servers.server(servers.garbage) as url:
        with no_collector():
            await pull(app, f"{url}/name")
            view = app.control.channel(CHANNEL).source
            while view is not None and view.attempts < 6:
                await asyncio.sleep(0.05)
                view = app.control.channel(CHANNEL).source
            assert sum(type(item) is PullConnection for item in gc.get_objects()) <= 2  # the last one, and the next


async def test_what_is_published_elsewhere_arrives_packet_by_packet(app: App, far: App) -> None:
    clip = await asyncio.to_thread(clips.make, clips.H264_B)
    kept = Kept(app)
    async with publisher(far) as sending:
        await sending.send(clip, speed=8, until_ms=1500)
        await pull(app, play_url(far))
        await source_is(app, "live")
        shown = app.control.channel(CHANNEL)
        assert shown.publisher is not None
        assert (shown.publisher.protocol, shown.publisher.address) == ("rtmp pull", "127.0.0.1")
        assert shown.state == "live"
        assert shown.source is not None
        assert shown.source.url.endswith("/live/********")
        await sending.send(clip, speed=8, offset_ms=12_000)
        sent = sending.sent
    for video in (True, False):
        ours = [item.digest for item in sent.track("video" if video else "audio")]
        await until(lambda video=video, ours=ours: kept.digests(video=video)[-1:] == ours[-1:], "the last packet")  # type: ignore[misc]
        got = kept.digests(video=video)
        assert got == ours[-len(got) :]
        assert len(got) > 0.8 * len(ours)
    assert kept.packets[0].is_keyframe
    # It ended at its publisher's goodbye; whether for good this side cannot know.
    await source_is(app, "retrying")
    assert app.hub.stream(CHANNEL).state is StreamState.HOLDING


async def test_a_source_that_is_not_live_yet_is_asked_again_until_it_is(app: App, far: App) -> None:
    await pull(app, play_url(far))
    view = await source_is(app, "retrying", "refused to play")
    assert "not live" in view.last_error
    assert far.control.channel(CHANNEL).read_key not in view.last_error
    clip = await asyncio.to_thread(clips.make, clips.H264)
    async with publisher(far) as sending:
        sends = asyncio.create_task(sending.send(clip))
        await source_is(app, "live")
        sends.cancel()
        await asyncio.wait([sends])


async def test_somebody_with_the_key_has_the_channel_first_and_the_source_goes_on_afterwards(
    app: App, far: App
) -> None:
    clip = await asyncio.to_thread(clips.make, clips.H264)
    async with publisher(far) as sending:
        sends = asyncio.create_task(sending.send(clip))
        await pull(app, play_url(far))
        await source_is(app, "live")
        async with publisher(app) as here:
            await here.send(clip, speed=8, until_ms=1500)
            assert here.ended is None
            await source_is(app, "idle", "somebody publishes")
            shown = app.control.channel(CHANNEL).publisher
            assert shown is not None
            assert shown.protocol == "rtmp"
        await source_is(app, "live")
        sends.cancel()
        await asyncio.wait([sends])


async def test_media_that_stops_holds_the_stream_while_the_connection_stays(app: App, far: App) -> None:
    clip = await asyncio.to_thread(clips.make, clips.H264)
    async with publisher(far) as sending:
        await sending.send(clip, speed=8, until_ms=2500)
        await pull(app, play_url(far))
        await source_is(app, "live")
        stream = app.hub.stream(CHANNEL)
        await until(lambda: stream.state is StreamState.HOLDING, "held")
        await sending.send(clip, speed=8, offset_ms=12_000)
        await until(lambda: stream.state is StreamState.LIVE, "back")
        view = app.control.channel(CHANNEL).source
        assert view is not None
        assert view.attempts == 1


async def test_a_source_that_is_removed_ends_its_stream_and_one_that_is_changed_does_not(app: App, far: App) -> None:
    clip = await asyncio.to_thread(clips.make, clips.H264)
    async with publisher(far) as sending:
        sends = asyncio.create_task(sending.send(clip))
        await pull(app, play_url(far))
        await source_is(app, "live")
        kept = Kept(app)
        await pull(app, play_url(far) + "&other=1")
        await source_is(app, "live")
        assert kept.ends == 0
        await pull(app, play_url(far) + "&other=1")  # the same again changes nothing
        view = app.control.channel(CHANNEL).source
        assert view is not None
        assert view.attempts == 1
        app.pulls.configure(CHANNEL, None)
        await until(lambda: app.hub.stream(CHANNEL).state is StreamState.OFFLINE, "ended")
        sends.cancel()
        await asyncio.wait([sends])


async def accepts_and_says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = ServerConnection(nonce=os.urandom(3072), now=0.0)
    while data := await reader.read(65536):
        for event in connection.receive(data, 0.0):
            if isinstance(event, PlayRequested):
                connection.accept_play(event.stream_id)
        writer.write(connection.data_to_send())


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1)


@pytest.mark.parametrize(
    ("converse", "words", "outcome"),
    [
        (servers.never_handshakes, "never answered the RTMP handshake", "timeout"),
        (servers.never_answers_connect, "never answered connect", "timeout"),
        (servers.refuses_the_app, "no such application", "rejected"),
        (servers.garbage, "does not speak RTMP", "protocol"),
        (hangs_up, "closed the connection before it sent", "closed"),
        (accepts_and_says_nothing, "sent no media within 1.5 s", "silent"),
    ],
)
async def test_servers_that_are_no_sources(app: App, converse: servers.Converse, words: str, outcome: str) -> None:
    async with servers.server(converse) as url:
        await pull(app, f"{url}/SECRETNAME")
        view = await source_is(app, "retrying", words)
        assert "SECRETNAME" not in view.last_error
        status = app.pulls.status(CHANNEL)
        assert status is not None
        assert status.outcomes.get(outcome), status.outcomes
        assert app.hub.lease(CHANNEL) is None
        app.pulls.configure(CHANNEL, None)


async def test_private_addresses_are_refused_by_default(tmp_path: Path, far: App) -> None:
    async with running_app(tmp_path / "near", outbound={"allow_private": False}, archive={"store": "off"}) as app:
        await pull(app, play_url(far))
        await source_is(app, "retrying", "loopback address")
        assert far.ingest.stats.connections == 0
