"""A courier: the order of its requests, what it does about each failure, and when it stops."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import pytest

from relay.config import Settings
from relay.egress.base import DestinationConfig
from relay.egress.hls_address import upload_url
from relay.egress.hls_courier import Courier
from relay.egress.hls_queue import Lane
from relay.errors import DestinationError, DestinationRejectedError
from relay.outbound.http import http_session
from relay.secret import Secret
from tests.egress.media import eventually
from tests.egress.test_hls_queue import LIMIT, segment
from tests.support.hls_ingest import Fault, HlsIngest


class Desk:
    """A courier's attempt (hls_courier.Sender): what it is told, and what it answers."""

    def __init__(self) -> None:
        self.is_made = self.is_followed = False
        self.bytes = 0
        self.told: list[str] = []

    def sent(self, count: int) -> None:
        self.bytes += count

    def live(self, lane: Lane) -> None:
        if self.told[-1:] != ["live"]:
            self.told.append("live")

    def troubled(self, lane: Lane, error: DestinationError) -> None:
        if self.told[-1:] != [error.outcome]:
            self.told.append(error.outcome)


class Plain(HlsIngest):
    """Takes anything, and lists the names asked for."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        self.names: list[str] = []

    def _take(self, name: str, data: bytes, kind: str) -> int:
        self.names.append("ENDLIST" if b"#EXT-X-ENDLIST" in data else name)
        return 200


@pytest.fixture
async def session(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session(settings) as made:
        yield made


def courier(
    lane: Lane,
    ingest: HlsIngest,
    session: aiohttp.ClientSession,
    settings: Settings,
    desk: Desk,
    *,
    is_backup: bool = False,
) -> Courier:
    config = DestinationConfig("a", ingest.url, Secret(ingest.key), kind="hls")
    address = partial(upload_url, config.url, ingest.key)
    return Courier(lane, address, config, session, settings.limits, desk, channel="talk", is_backup=is_backup)


async def test_each_segment_then_its_playlist_then_the_end(session: aiohttp.ClientSession, settings: Settings) -> None:
    lane, desk = Lane(LIMIT), Desk()
    async with Plain() as ingest:
        task = asyncio.create_task(courier(lane, ingest, session, settings, desk).run())
        for number in (1, 2, 3):
            lane.add(segment(number))
        await eventually(lambda: len(ingest.names) == 6)
        desk.is_made = True
        lane.changed.set()
        await task
    assert ingest.names == ["a-1.ts", "index.m3u8", "a-2.ts", "index.m3u8", "a-3.ts", "index.m3u8", "ENDLIST"]
    assert desk.told == ["live"]
    assert not lane.has_playlist


async def test_nothing_sent_is_nothing_to_end(session: aiohttp.ClientSession, settings: Settings) -> None:
    desk = Desk()
    desk.is_made = True
    async with Plain() as ingest:
        await courier(Lane(LIMIT), ingest, session, settings, desk).run()
    assert ingest.names == []


async def test_where_another_attempt_follows_the_rest_is_left_to_it(
    session: aiohttp.ClientSession, settings: Settings
) -> None:
    lane, desk = Lane(LIMIT), Desk()
    async with Plain(fault=lambda name, tries: 503 if name == "a-2.ts" else None) as ingest:
        task = asyncio.create_task(courier(lane, ingest, session, settings, desk).run())
        lane.add(segment(1))
        lane.add(segment(2))
        await eventually(lambda: ingest.tries.get("a-2.ts", 0) >= 2)
        desk.is_made = desk.is_followed = True
        lane.changed.set()
        await asyncio.wait_for(task, 10)
    assert ingest.names == ["a-1.ts", "index.m3u8"]
    assert [item.number for item in lane.queue] == [2]
    assert lane.has_playlist


async def test_a_segment_dropped_meanwhile_is_not_sent_any_more(
    session: aiohttp.ClientSession, settings: Settings
) -> None:
    lane, desk = Lane(LIMIT), Desk()
    away = True

    def fault(name: str, tries: int) -> Fault | None:
        return 503 if away else None

    async with Plain(fault=fault) as ingest:
        task = asyncio.create_task(courier(lane, ingest, session, settings, desk).run())
        for number in range(1, 200):
            lane.add(segment(number))
        await eventually(lambda: lane.queue[0].number > 1 and lane.sending is None, 20)
        away = False
        await eventually(lambda: not lane.queue, 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    numbers = [int(name[2:-3]) for name in ingest.names if name.endswith(".ts")]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 199
    assert lane.dropped == (199 - len(numbers)) * 50 > 0


async def test_a_hiccup_is_no_trouble_and_an_outage_is(
    session: aiohttp.ClientSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.egress.hls_courier.TROUBLE_S", 0.5)
    lane, desk = Lane(LIMIT), Desk()
    away = False

    def fault(name: str, tries: int) -> Fault | None:
        return 503 if away or (name == "a-2.ts" and tries == 1) else None

    async with Plain(fault=fault) as ingest:
        task = asyncio.create_task(courier(lane, ingest, session, settings, desk).run())
        lane.add(segment(1))
        lane.add(segment(2))
        await eventually(lambda: not lane.queue)
        assert desk.told == ["live"]
        away = True
        lane.add(segment(3))
        await eventually(lambda: desk.told == ["live", "server_error"])
        away = False
        await eventually(lambda: desk.told == ["live", "server_error", "live"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refusal_ends_the_first_place_and_not_the_second(
    session: aiohttp.ClientSession, settings: Settings
) -> None:
    async with Plain(key="other") as ingest:
        ingest.key, wrong = "right", "wrong"
        for is_backup in (False, True):
            lane, desk = Lane(LIMIT), Desk()
            lane.add(segment(1))
            made = courier(lane, ingest, session, settings, desk, is_backup=is_backup)
            made._address = partial(upload_url, ingest.url, wrong)
            task = asyncio.create_task(made.run())
            if is_backup:
                await eventually(lambda desk=desk: desk.told == ["rejected"])
                assert not task.done()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                with pytest.raises(DestinationRejectedError, match="does not know the key"):
                    await task
            assert [item.number for item in lane.queue] == [1]
