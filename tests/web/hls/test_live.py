"""LiveChannels: a muxer for each stream from its beginning, a while beyond its end; and what viewers cost."""

import asyncio
from pathlib import Path

import pytest

from relay.config import LiveSettings, Settings
from relay.hub import Hub
from relay.web.hls import live as module
from relay.web.hls.live import LiveChannels, Watched
from tests.archive.media import Connection, batches
from tests.web.hls.media import frames


def channels(tmp_path: Path, **settings: float) -> tuple[Hub, LiveChannels]:
    hub = Hub()
    live = LiveChannels(hub, None, Settings(data_dir=tmp_path, live=LiveSettings(**settings)))
    live.watched("demo").asked("somebody")
    return hub, live


async def test_a_stream_is_there_from_its_first_packet_and_goes_a_while_after_its_last(tmp_path: Path) -> None:
    hub, live = channels(tmp_path, ended_s=0.05)
    assert live.muxer("demo") is None
    lease = hub.publish("demo", Connection())
    for batch in batches(frames(0, 5_000)):
        lease.write(batch)
    muxer = live.muxer("demo")
    assert muxer is not None
    assert muxer.segments[0].start_ms == 0
    assert live.run("demo", muxer.run) is muxer
    assert live.run("other", muxer.run) is None
    assert live.kept_bytes > 0
    lease.release(clean=True)
    assert muxer.is_over
    assert live.muxer("demo") is muxer
    await asyncio.sleep(0.1)
    assert live.muxer("demo") is None


async def test_the_next_stream_does_not_take_the_last_one_s_end_away(tmp_path: Path) -> None:
    hub, live = channels(tmp_path)
    runs = []
    for _ in range(3):
        lease = hub.publish("demo", Connection())
        for batch in batches(frames(0, 5_000)):
            lease.write(batch)
        muxer = live.muxer("demo")
        assert muxer is not None
        runs.append(muxer.run)
        lease.release(clean=True)
    assert [live.run("demo", run) is not None for run in runs] == [False, True, True]


async def test_a_publisher_that_returns_goes_on_with_its_playlist(tmp_path: Path) -> None:
    hub, live = channels(tmp_path)
    lease = hub.publish("demo", Connection())
    for batch in batches(frames(0, 5_000)):
        lease.write(batch)
    muxer = live.muxer("demo")
    assert muxer is not None
    lease.release(clean=False)
    assert not muxer.is_flowing
    lease = hub.publish("demo", Connection())
    for batch in batches(frames(20_000, 26_000)):
        lease.write(batch)
    assert live.muxer("demo") is muxer
    assert [segment.breaks for segment in muxer.segments].count(True) == 1


def test_viewers_are_connections_that_asked_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    watched = Watched()
    for port in (1, 2, 2, 3):
        watched.asked(("10.0.0.1", port))
    assert watched.viewers == 3
    now[0] += module.VIEWER_S - 1
    watched.asked(("10.0.0.1", 1))
    now[0] += 2
    assert watched.viewers == 1
