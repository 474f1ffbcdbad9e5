"""History: differences of counters at each look, ten minutes of them, and nothing while there is no stream."""

import asyncio

import pytest

from relay.control.history import EVERY_S, KEPT, History, Sample
from relay.hub import Hub
from tests.hub.media import audio, video
from tests.hub.test_hub import Encoder


class Running:
    """A hub with one live stream, and a clock to look by."""

    def __init__(self) -> None:
        self.hub = Hub(10.0)
        self.history = History(self.hub)
        self.lease = self.hub.publish("talk", Encoder())
        self.now = 1000.0
        self.dts_ms = 0

    def send(self, pictures: int) -> None:
        for _ in range(pictures):
            self.lease.write([video(self.dts_ms, key=self.dts_ms == 0, size=1000), audio(self.dts_ms)])
            self.dts_ms += 40

    def look(self) -> None:
        self.history.look(5000.0 + self.now, self.now)
        self.now += EVERY_S


def test_each_sample_is_what_came_since_the_one_before() -> None:
    running = Running()
    running.send(1)
    running.look()
    assert running.history.samples("talk") == []
    running.send(50)
    running.look()
    (sample,) = running.history.samples("talk")
    assert (sample.at, sample.fps) == (6002.0, 25.0)
    assert sample.kbps == pytest.approx(50 * 1001 * 8 / 1000 / EVERY_S, abs=1)
    running.look()
    assert running.history.last("talk") == Sample(6004.0, 0, 0.0, sample.lag_s)
    assert running.history.last("other") is None


def test_no_more_than_ten_minutes_are_kept() -> None:
    running = Running()
    running.send(1)
    for _ in range(KEPT + 20):
        running.look()
    samples = running.history.samples("talk")
    assert len(samples) == KEPT
    assert samples[-1].at - samples[0].at == EVERY_S * (KEPT - 1)


def test_a_stream_that_ended_leaves_its_line_for_ten_minutes_and_a_new_one_begins_afresh() -> None:
    running = Running()
    running.send(1)
    running.look()
    running.send(10)
    running.look()
    running.lease.release(clean=True)
    running.look()
    assert len(running.history.samples("talk")) == 1
    running.lease = running.hub.publish("talk", Encoder())
    running.dts_ms = 0
    running.send(30)
    running.look()
    assert len(running.history.samples("talk")) == 1  # what came while nobody looked is no rate
    running.lease.release(clean=True)
    for _ in range(KEPT + 2):
        running.look()
    assert running.history.samples("talk") == []


async def test_it_looks_by_itself_until_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.control.history.EVERY_S", 0.01)
    running = Running()
    running.send(1)
    running.history.start()
    deadline = asyncio.get_running_loop().time() + 10
    while not running.history.samples("talk"):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    running.history.close()
    count = len(running.history.samples("talk"))
    await asyncio.sleep(0.05)
    assert len(running.history.samples("talk")) == count
