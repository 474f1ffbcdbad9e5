"""Pacer: media that comes in pieces is shown evenly, in order, whole; and only far behind is something left out."""

import asyncio
from collections.abc import Sequence

import pytest

from relay.hub.pace import BEHIND_MS, LEAST_MS, Pacer
from relay.hub.tick import Ticker
from relay.media import Packet
from tests.hub.media import audio, video

TICK_MS = 20


class Wall:
    """A ticker and a clock that stand still until they are moved."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000.0
        self.shown: list[tuple[float, Packet]] = []
        self.ticker = HandTicker()
        self.pacer = Pacer(self.ticker, lambda: self.now_ms / 1000, self._show)

    def _show(self, packets: Sequence[Packet]) -> None:
        assert packets
        self.shown += [(self.now_ms, packet) for packet in packets]

    def run(self, ms: int) -> None:
        for _ in range(0, ms, TICK_MS):
            self.now_ms += TICK_MS
            self.ticker.tick()

    def dts(self) -> list[int]:
        return [packet.dts_ms for _, packet in self.shown]


class HandTicker(Ticker):
    """Ticks when told."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parked = []

    def park(self, resume: object) -> None:
        self._parked.append(resume)  # type: ignore[arg-type]

    def tick(self) -> None:
        self._parked, parked = [], self._parked
        for resume in parked:
            resume()


@pytest.fixture
async def wall() -> Wall:
    return Wall()


def piece(start_ms: int, length_ms: int = 2000, gop_ms: int = 1000) -> list[Packet]:
    made = []
    for dts_ms in range(start_ms, start_ms + length_ms, 40):
        made += [video(dts_ms, key=(dts_ms - start_ms) % gop_ms == 0), audio(dts_ms + 1)]
    return made


async def test_pieces_in_time_are_shown_evenly_and_whole(wall: Wall) -> None:
    sent = []
    for number in range(10):
        sent += piece(number * 2000)
        wall.pacer.add(piece(number * 2000))
        wall.run(2000)
    wall.run(3000)
    assert [packet for _, packet in wall.shown] == sent
    delays = {round(at - packet.dts_ms) for at, packet in wall.shown}
    assert max(delays) - min(delays) <= TICK_MS + 1
    assert wall.pacer.waiting_ms == 0
    assert wall.pacer.skipped == 0


async def test_a_piece_late_within_the_slack_is_not_noticed(wall: Wall) -> None:
    wall.pacer.add(piece(0))
    wall.run(2600)
    wall.pacer.add(piece(2000))
    wall.run(4000)
    delays = {round(at - packet.dts_ms) for at, packet in wall.shown}
    assert max(delays) - min(delays) <= TICK_MS + 1


async def test_a_piece_later_than_that_moves_the_clock_and_nothing_is_lost(wall: Wall) -> None:
    wall.pacer.add(piece(0))
    wall.run(5000)
    assert wall.dts()[-1] == 1961
    wall.pacer.add(piece(2000))
    wall.run(LEAST_MS - TICK_MS)
    assert wall.dts()[-1] == 1961
    wall.run(3000)
    assert wall.dts() == [packet.dts_ms for packet in piece(0) + piece(2000)]


async def test_what_waits_longer_than_needed_is_caught_up_with(wall: Wall) -> None:
    """Three pieces at once: shown a little faster until no more than needed waits."""
    for number in range(3):
        wall.pacer.add(piece(number * 2000))
    waiting = []
    for number in range(3, 40):
        wall.run(2000)
        waiting.append(wall.pacer.waiting_ms)
        wall.pacer.add(piece(number * 2000))
    assert waiting[-1] < waiting[0] - 1500
    assert wall.pacer.skipped == 0
    assert wall.dts() == sorted(wall.dts())


async def test_a_long_backlog_is_left_out_up_to_a_keyframe_near_its_end(wall: Wall) -> None:
    wall.pacer.add(piece(0))
    wall.run(2000)
    for number in range(1, 31):  # a minute of pieces, as fast as they come
        wall.pacer.add(piece(number * 2000))
    assert wall.pacer.waiting_ms <= BEHIND_MS
    assert wall.pacer.skipped > 0
    before = len(wall.shown)
    wall.run(2000)
    first = wall.shown[before][1]
    assert first.is_keyframe
    assert first.is_video
    assert first.dts_ms > 50_000
    wall.run(6000)
    assert wall.dts()[-1] == 61_961


async def test_flush_shows_the_rest_at_once_and_then_nothing(wall: Wall) -> None:
    wall.pacer.add(piece(0))
    wall.pacer.flush()
    assert wall.dts() == [packet.dts_ms for packet in piece(0)]
    wall.run(5000)
    wall.pacer.flush()
    assert len(wall.shown) == len(piece(0))


async def test_two_tracks_that_come_apart_are_shown_together(wall: Wall) -> None:
    whole = piece(0)
    wall.pacer.add([packet for packet in whole if packet.is_video])
    wall.pacer.add([packet for packet in whole if not packet.is_video])
    wall.run(4000)
    assert wall.dts() == sorted(packet.dts_ms for packet in whole)
    assert {packet.is_video for _, packet in wall.shown[:6]} == {True, False}
