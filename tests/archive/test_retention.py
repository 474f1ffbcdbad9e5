"""Which recordings have had their time; and that deleting one survives a store that is away and a restart."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.archive import retention as module
from relay.archive.retention import DAY_S, Policy, delete_due, due
from relay.config import Settings
from relay.database import RecordingRow
from relay.errors import ConflictError, NotFoundError
from tests.archive.house import House
from tests.archive.media import publish, read_packets
from tests.support import clips
from tests.support.clips import Clip

SOUND = Clip("unit-aac", (), clips.H264.audio, 1)


def row(name: str, ended_at: float, size: int, state: str = "complete", stored: int = 2) -> RecordingRow:
    return RecordingRow(
        id=name, channel="talk", state=state, started_at=ended_at - 10, ended_at=ended_at, bytes=size,
        segments=2, segments_stored=stored,
    )  # fmt: skip


def names(rows: list[RecordingRow], policy: Policy, now: float = 10 * DAY_S) -> list[str]:
    return [item.id for item in due(rows, policy, now)]


def test_by_age_and_by_size() -> None:
    rows = [row("new", 9.5 * DAY_S, 50), row("mid", 8 * DAY_S, 50), row("old", 1 * DAY_S, 50)]
    assert names(rows, Policy()) == []
    assert names(rows, Policy(keep_days=3)) == ["old"]
    assert names(rows, Policy(keep_bytes=100)) == ["old"]
    assert names(rows, Policy(keep_bytes=10)) == ["mid", "old"], "the newest stays, however large"
    assert names(rows, Policy(keep_days=0.1)) == ["new", "mid", "old"]


def test_what_runs_or_waits_for_the_store_stays() -> None:
    rows = [row("live", 0, 50, state="recording"), row("waits", 0, 50, stored=1), row("done", 0, 50)]
    assert names(rows, Policy(keep_days=1, keep_bytes=1)) == ["done"]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = await House(Settings(data_dir=tmp_path / "data")).start()
    yield house
    await house.stop()


async def gone(house: House, recording: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await house.database.recordings.get(recording)
            except NotFoundError:
                return
            await asyncio.sleep(0.02)


async def test_a_recording_is_deleted_everywhere(house: House) -> None:
    packets = read_packets(clips.make(SOUND))
    lease, _ = publish(house.hub, "talk", packets)
    running = house.archive.recording_of("talk")
    assert running is not None
    await house.archive._committer.drain()
    with pytest.raises(ConflictError, match="end the stream first"):
        await house.archive.delete(running)
    lease.release(clean=True)
    row = await house.finished()
    await house.archive.delete(row.id)
    await gone(house, row.id)
    assert not list((house.settings.data_dir / "archive").rglob(f"{row.id}/*"))
    assert not list((house.settings.data_dir / "spool").rglob(row.id))
    with pytest.raises(NotFoundError):
        await house.archive.delete(row.id)


async def test_retention_deletes_what_a_policy_says(house: House) -> None:
    packets = read_packets(clips.make(SOUND))
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    await delete_due("talk", Policy(keep_days=1), house.database.recordings, house.archive.delete)
    assert (await house.database.recordings.get(row.id)).state == "complete"
    await delete_due("talk", Policy(keep_days=-1), house.database.recordings, house.archive.delete)
    await gone(house, row.id)


async def test_a_deletion_cut_short_goes_on_after_a_restart(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = read_packets(clips.make(SOUND))
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    store = house.settings.data_dir / "archive"
    store.rename(store.with_name("away"))
    store.write_text("in the way")
    await house.archive.delete(row.id)
    await asyncio.sleep(0.1)
    assert (await house.database.recordings.get(row.id)).state == "deleting"
    await house.stop()
    store.unlink()
    store.with_name("away").rename(store)
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    await house.start()
    await gone(house, row.id)
    assert not list(store.rglob(f"{row.id}/*"))


@pytest.mark.parametrize("late", ["index.m3u8", "000000.m4s"])
async def test_what_is_being_uploaded_meanwhile_does_not_come_back(
    house: House, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """The store is slow with one object; its recording is deleted before it has taken it."""
    packets = read_packets(clips.make(SOUND))
    store, real = house.archive._store, house.archive._store.put
    begun, go_on = threading.Event(), threading.Event()

    def slow(key: str, data: bytes, content_type: str, *, replace: bool = True) -> None:
        if key.endswith(late):
            begun.set()
            assert go_on.wait(30)
        real(key, data, content_type, replace=replace)

    monkeypatch.setattr(store, "put", slow)
    publish(house.hub, "talk", packets)[0].release(clean=True)
    assert await asyncio.to_thread(begun.wait, 20)
    (row,) = await house.database.recordings.newest("talk")
    async with asyncio.timeout(20):
        while True:
            row = await house.database.recordings.get(row.id)
            if row.state == "complete" and not house.archive._lines.is_busy(house.archive._recordings[row.id]):
                break
            await asyncio.sleep(0.02)
    await house.archive.delete(row.id)
    await gone(house, row.id)
    go_on.set()
    assert await house.archive._uploader.drain(20)
    assert not list((house.settings.data_dir / "archive").rglob(f"{row.id}/*"))
