"""One publisher or player at the door: admitted or told why not, taken over, timed out, acknowledged."""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from relay.app import App
from relay.hub import StreamState
from relay.protocol.rtmp.state import ClientState
from tests.ingest.test_rtmp import publish_url
from tests.protocol.rtmp.peers import make_client
from tests.support.app import running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher, Refused


async def until(condition: Callable[[], object], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def clip() -> Path:
    return make(H264)


@pytest.mark.parametrize(
    "form", ["/live/{key}", "/live/{key}/", "/live?key={key}", "/live/{key}?bitrate=1", "/live/_definst_/{key}"]
)
async def test_publish_addresses_of_every_form_reach_the_channel(app: App, clip: Path, form: str) -> None:
    base = publish_url(app).rpartition("/live/")[0]
    url = base + form.format(key=app.control.channel("demo").stream_key)
    async with Publisher(url) as publisher:
        await publisher.send(clip, speed=None, until_ms=200)
        await until(lambda: app.hub.stream("demo").state is StreamState.LIVE)
    await until(lambda: app.hub.stream("demo").state is StreamState.OFFLINE)


async def test_a_wrong_key_is_refused_in_words_an_encoder_shows_and_counted(app: App) -> None:
    with pytest.raises(Refused, match="wrong key"):
        await Publisher(publish_url(app)[:-4] + "xxxx").open()
    assert app.admission.outcomes["unknown", "bad_key"] == 1
    assert app.hub.lease("demo") is None


async def test_the_newest_publisher_takes_over_and_the_old_one_hears_it(app: App, clip: Path) -> None:
    old = Publisher(publish_url(app))
    await old.open()
    await old.send(clip, speed=None, until_ms=300)
    await until(lambda: app.hub.stream("demo").seq > 0)
    async with Publisher(publish_url(app)) as new:
        await new.send(clip, speed=None, until_ms=300)
        await until(lambda: old.ended is not None)
        assert old.ended is not None
        assert "took over" in old.ended
        assert app.hub.stream("demo").stats.takeovers == 1
    await old.abort()


async def test_a_publisher_that_vanishes_is_held_for_and_one_that_says_goodbye_is_not(app: App, clip: Path) -> None:
    lost = Publisher(publish_url(app))
    await lost.open()
    await lost.send(clip, speed=None, until_ms=300)
    await until(lambda: app.hub.stream("demo").state is StreamState.LIVE)
    await lost.abort()
    await until(lambda: app.hub.stream("demo").state is StreamState.HOLDING)
    async with Publisher(publish_url(app)) as back:
        await back.send(clip, speed=None, until_ms=300)
        await until(lambda: app.hub.stream("demo").state is StreamState.LIVE)
    await until(lambda: app.hub.stream("demo").state is StreamState.OFFLINE)


async def test_silence_is_a_stall_and_then_the_end(app: App, clip: Path) -> None:
    publisher = Publisher(publish_url(app))
    await publisher.open()
    await publisher.send(clip, speed=None, until_ms=300)
    await until(lambda: app.hub.stream("demo").state is StreamState.HOLDING)
    assert publisher.ended is None
    await publisher.send(clip, speed=None, until_ms=100, offset_ms=2000)
    await until(lambda: app.hub.stream("demo").state is StreamState.LIVE)
    await until(lambda: publisher.ended is not None)
    assert publisher.ended is not None
    assert "no media for 1.6 s" in publisher.ended
    await publisher.abort()


async def test_a_clock_that_jumps_is_told_from_media_that_was_not_sent(app: App, clip: Path) -> None:
    """A step no real time has passed for is the encoder's clock; the same step after a pause is a hole."""
    stream = app.hub.stream("demo")

    async def reached(count: int) -> int:
        await until(lambda: stream.seq == count)
        assert stream.last_dts_ms is not None
        return stream.last_dts_ms

    async with Publisher(publish_url(app)) as publisher:
        await publisher.send(clip, until_ms=300, offset_ms=60_000)
        ends = [await reached(len(publisher.sent.items))]
        for offset_ms in (63_000, 100, 37_600_000):
            await publisher.send(clip, until_ms=300, offset_ms=offset_ms)
            ends.append(await reached(len(publisher.sent.items)))
        lease = app.hub.lease("demo")
        assert lease is not None
        assert [later - earlier for earlier, later in pairwise(ends)] == [pytest.approx(330, abs=50)] * 3
        assert lease.timeline.jumps == 6
        await asyncio.sleep(1.2)
        await publisher.send(clip, until_ms=300, offset_ms=37_601_500)
        assert await reached(len(publisher.sent.items)) - ends[-1] == pytest.approx(1500, abs=1)
        assert lease.timeline.jumps == 6


async def test_no_handshake_and_no_media_have_deadlines(app: App) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", app.ingest.ports[0])
    publisher = Publisher(publish_url(app))
    await publisher.open()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await until(lambda: publisher.ended is not None)
    assert publisher.ended is not None
    assert "no media within 1 s" in publisher.ended
    hits = app.ingest.stats.limit_hits
    assert (hits["handshake"], hits["first_media"]) == (1, 1)
    await publisher.abort()


async def test_garbage_ends_only_the_connection_that_sent_it(app: App, clip: Path) -> None:
    async with Publisher(publish_url(app)) as publisher:
        await publisher.send(clip, speed=None, until_ms=300)
        reader, writer = await asyncio.open_connection("127.0.0.1", app.ingest.ports[0])
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await publisher.send(clip, speed=None, until_ms=300, offset_ms=400)
        await until(lambda: app.hub.stream("demo").seq == len(publisher.sent.items))
        assert publisher.ended is None


async def test_everything_whole_is_acknowledged_soon_and_never_more_than_was_sent(tmp_path: Path, clip: Path) -> None:
    async with running_app(tmp_path) as app, Publisher(publish_url(app)) as publisher:
        for step in range(10):
            await publisher.send(clip, speed=None, until_ms=100, offset_ms=step * 120)
            await asyncio.sleep(0.15)
            assert publisher.acknowledged <= publisher.bytes_sent + 4096  # commands come on top of media
        await until(lambda: publisher.acknowledged >= publisher.bytes_sent * 0.8)


async def test_a_revoked_key_ends_its_publisher_at_once(app: App, clip: Path) -> None:
    publisher = Publisher(publish_url(app))
    await publisher.open()
    await publisher.send(clip, speed=None, until_ms=300)
    await until(lambda: app.hub.stream("demo").state is StreamState.LIVE)
    await app.control.rotate_key("demo")
    await until(lambda: publisher.ended is not None)
    assert publisher.ended is not None
    assert "key was changed" in publisher.ended
    await publisher.abort()


@pytest.mark.parametrize("told", [False, True])
async def test_ffmpeg_is_not_told_what_it_would_not_read(
    app: App, clip: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """ffmpeg closes over an unread Acknowledgement, which resets the connection and loses its last frames.

    It is known by naming the same version in connect and metadata; who only looks like it is acknowledged.
    """
    found = re.search(rb"Lavf[\d.]+", clip.read_bytes())
    assert found is not None
    shown = "Lavf1.2.3" if told else found[0].decode()
    monkeypatch.setattr("relay.protocol.rtmp.client.FLASH_VERSION", f"FMLE/3.0 (compatible; {shown})")
    async with Publisher(publish_url(app)) as publisher:
        await publisher.send(clip, until_ms=2000)
        await asyncio.sleep(0.3)
        assert (publisher.acknowledged > 0) is told


async def test_a_player_that_reads_nothing_is_dropped_and_the_publisher_does_not_notice(
    tmp_path: Path, clip: Path
) -> None:
    limits = {"write_stall_s": 0.5, "backlog_bytes": 100_000}
    async with running_app(tmp_path, limits=limits, archive={"store": "off"}) as app:
        channel = app.control.channel("demo")
        async with Publisher(publish_url(app)) as publisher:
            await publisher.send(clip, speed=None, until_ms=1000)
            await until(lambda: app.hub.stream("demo").seq > 0)
            others = app.hub.stream("demo").readers
            with socket.socket() as stuck:
                stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stuck.connect(("127.0.0.1", app.ingest.ports[0]))
                player = make_client("play", stream_name=f"demo?key={channel.read_key}")
                while player.state is not ClientState.LIVE:
                    stuck.sendall(player.data_to_send())
                    player.receive(await asyncio.to_thread(stuck.recv, 4096), 0.0)
                assert app.hub.stream("demo").readers == others + 1
                for step in range(1, 60):
                    await publisher.send(clip, speed=None, offset_ms=step * 12_100)
                    if app.hub.stream("demo").readers == others:
                        break
                    await asyncio.sleep(0.1)
                assert app.hub.stream("demo").readers == others
            assert publisher.ended is None


async def test_every_connection_ends_in_one_line_that_says_why(app: App, clip: Path) -> None:
    with structlog.testing.capture_logs() as told:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.ingest.ports[0])  # says nothing
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", app.ingest.ports[0])
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(Refused):
            await Publisher(publish_url(app)[:-4] + "xxxx").open()
        async with Publisher(publish_url(app)) as publisher:
            await publisher.send(clip, speed=None, until_ms=300)
        lost = Publisher(publish_url(app))
        await lost.open()
        await lost.send(clip, speed=None, until_ms=300)
        await until(lambda: app.hub.stream("demo").state is StreamState.LIVE)
        await lost.abort()
        await until(lambda: not app.ingest.stats.open)
    endings = [item for item in told if item["event"] in ("connection ended", "connection refused", "refused")]
    assert [item["reason"].partition(":")[0] for item in endings] == [
        "no RTMP handshake and connect within 0.6 s",
        "this is HTTP, but the port is for RTMP",
        "wrong key",
        "closed by the peer",
        endings[-1]["reason"],
    ]
    assert len(endings) == 5
    assert [item.get("channel") for item in endings[3:]] == [None, "demo"], "it had said goodbye before it closed"


async def test_a_fault_of_ours_ends_one_connection_with_its_line(
    app: App, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with Publisher(publish_url(app)) as publisher:
        await publisher.send(clip, speed=None, until_ms=300)
        monkeypatch.setattr("relay.ingest.rtmp_connection.split_publish", broken)
        with structlog.testing.capture_logs() as told:
            with pytest.raises((Refused, ConnectionError)):
                await Publisher(publish_url(app)).open(5)
            await until(lambda: app.ingest.stats.open == 1)
        assert [item["event"] for item in told] == ["connection failed"]
        assert publisher.ended is None


async def test_who_does_not_read_the_goodbye_loses_its_place_all_the_same(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.ingest.rtmp_connection.GOODBYE_S", 0.5)
    limits = {"write_stall_s": 60, "backlog_bytes": 8_000_000}
    async with running_app(tmp_path, limits=limits, archive={"store": "off"}) as app:
        channel = app.control.channel("demo")
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            async with Publisher(publish_url(app)) as publisher:
                await publisher.send(clip, speed=None, until_ms=1000)
                await until(lambda: app.hub.stream("demo").seq > 0)
                stuck.connect(("127.0.0.1", app.ingest.ports[0]))
                player = make_client("play", stream_name=f"demo?key={channel.read_key}")
                while player.state is not ClientState.LIVE:
                    stuck.sendall(player.data_to_send())
                    player.receive(await asyncio.to_thread(stuck.recv, 4096), 0.0)
                playing = next(item for item in app.ingest._connections if item._player is not None)
                assert playing._transport is not None
                step = 0
                while not playing._transport.get_write_buffer_size():
                    step += 1
                    await publisher.send(clip, speed=None, offset_ms=step * 12_100)
                    await asyncio.sleep(0.1)
                playing.end("for the test", clean=True)
                await until(lambda: app.ingest.stats.open == 1, 10)
                assert app.budget.total == 1
