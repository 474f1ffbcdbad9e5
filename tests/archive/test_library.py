"""What is recorded is read from the spool while it is there, and from the store after that."""

import asyncio
import shutil

import m3u8
import pytest

from relay.database import RecordingRow
from relay.errors import NotFoundError, StoreError
from relay.media import Packet
from tests.archive.house import House
from tests.archive.media import publish


async def test_the_spool_first_and_then_the_store(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    library = house.archive.library
    text = await library.playlist(row.id)
    names = [segment.uri for segment in m3u8.loads(text).segments]
    assert len(names) == row.segments
    near = [await library.read(row.id, name) for name in names]
    shutil.rmtree(house.settings.data_dir / "spool")
    assert [await library.read(row.id, name) for name in names] == near
    found, segments, gaps = await library.parts_of(row.id)
    assert (found, len(segments), list(gaps)) == (row, row.segments, [])


async def test_what_is_not_there(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    with pytest.raises(NotFoundError):
        await house.archive.library.playlist("no-such-recording")
    with pytest.raises(StoreError, match="no object"):
        await house.archive.library.read(row.id, "999999.m4s")


async def test_a_relay_that_stops_says_so(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    await house.archive.close()
    with pytest.raises(StoreError, match="stopping"):
        await house.archive.library.read(row.id, "000000.m4s")


async def test_a_span_of_media_time_is_in_the_segments_that_touch_it(house: House, packets: list[Packet]) -> None:
    lease, _ = publish(house.hub, "talk", packets)
    place = house.archive.place("talk")
    assert place is not None
    lease.release(clean=True)
    row = await house.finished()
    assert place[:2] == (row.id, row.base_ms)
    assert place.started_at == row.started_at
    library = house.archive.library
    _, segments, _ = await library.parts_of(row.id)
    assert list(await library.segments_between(row.id, 0, 1_000_000)) == list(segments)
    edge = segments[1].start_ms
    assert [item.seq for item in await library.segments_between(row.id, edge - 1, edge)] == [0]
    assert [item.seq for item in await library.segments_between(row.id, edge - 1, edge + 1)] == [0, 1]
    assert await library.segments_between(row.id, 10_000_000, 10_000_001) == []
    assert house.archive.place("talk") is None


async def test_what_is_not_packaged_yet_is_on_disk(house: House, packets: list[Packet]) -> None:
    lease, _ = publish(house.hub, "talk", packets)
    place = house.archive.place("talk")
    assert place is not None
    library = house.archive.library
    row = RecordingRow(id=place.recording, channel="talk", state="", started_at=place.started_at)
    found: list[Packet] = []
    for _ in range(200):
        found = await library.unpackaged(row)
        if found and found[-1].data == packets[-1].data:
            break
        await asyncio.sleep(0.05)
    assert found
    tail = packets[-len(found) :]
    assert [(item.dts_ms, item.pts_ms, item.data) for item in found] == [
        (item.dts_ms, item.pts_ms, item.data) for item in tail
    ]
    lease.release(clean=True)
    await house.finished()
    assert await library.unpackaged(row) == []
