"""What an earlier run left: known at once, worked off later, and never in the way of who comes meanwhile."""

import shutil
from pathlib import Path

import pytest

from relay.archive import upkeep
from relay.archive.archive import Archive
from relay.archive.upkeep import LeftPart
from relay.database import Database, RecordingRow
from relay.hub import Hub
from relay.media import Packet
from tests.archive.house import House
from tests.archive.media import publish
from tests.archive.test_archive import same, until


async def crashed(house: House, packets: list[Packet]) -> Path:
    """A recording of which only its parts are left, as by a crash before any of them was packaged; its folder."""
    parts: dict[str, bytes] = {}
    real = upkeep.remove

    def keep(path: Path) -> int:
        if path.suffix == ".flv":
            parts[path.name] = path.read_bytes()
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "remove", keep)
        publish(house.hub, "talk", packets)[0].release(clean=False)
        house.hub.end("talk", clean=False)
        row = await house.finished()
    await house.stop()
    (house.settings.data_dir / "relay.db").unlink()
    shutil.rmtree(house.settings.data_dir / "archive")
    folder = house.settings.data_dir / "spool" / "talk" / row.id
    for path in folder.iterdir():
        path.unlink()
    for name, data in parts.items():
        (folder / name).write_bytes(data)
    return folder


async def look(house: House) -> None:
    """A start up to the moment the doors open."""
    house.database = Database(house.settings)
    house.hub = Hub(hold_s=60)
    house.archive = Archive(house.settings, house.database.recordings, house.hub)
    await house.archive.start()


async def test_before_the_doors_open_no_more_is_read_than_each_channels_last_part(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = await crashed(house, packets)
    for number in range(5):
        shutil.copytree(newest, newest.with_name(f"20200101T00000{number}Z-{number:06x}"))
    resolved: list[LeftPart] = []
    real = upkeep.resolve
    monkeypatch.setattr(upkeep, "resolve", lambda left: resolved.append(left) or real(left))
    await look(house)
    assert [recording.id for recording in house.archive._recordings.values()] == [newest.name]
    assert resolved == []
    house.archive.work()
    await until(lambda: len(resolved) == 6 * 4)
    await until(lambda: len(list((house.settings.data_dir / "archive").rglob("*.m4s"))) == 6 * 4)


async def test_who_comes_before_the_work_begins_goes_on_with_the_recording_in_order(
    house: House, packets: list[Packet]
) -> None:
    folder = await crashed(house, packets)
    await look(house)
    publish(house.hub, "talk", packets)[0].release(clean=True)
    house.archive.work()
    row = await house.finished()
    assert row.id == folder.name
    assert row.segments == 8
    assert await house.database.recordings.gaps(row.id) == [], "sent at once, so the media follows without a hole"
    same(packets + packets, house.stored(row))


async def test_what_was_being_deleted_does_not_come_back(house: House, packets: list[Packet]) -> None:
    folder = await crashed(house, packets)
    await look(house)
    row = await house.database.recordings.get(folder.name)
    await house.stop()
    database = Database(house.settings)
    await database.recordings.set_state(row.id, "deleting", None)
    database.close()
    await house.start()
    await until(lambda: not folder.exists())
    assert house.archive._recordings == {}


async def test_a_recording_that_went_on_is_not_complete_though_the_catalog_still_says_so(
    house: House, packets: list[Packet]
) -> None:
    """The power failed before the catalog was told, and after the spool had more of it."""
    folder = await crashed(house, packets)
    database = Database(house.settings)
    row = RecordingRow(id=folder.name, channel="talk", state="complete", started_at=1.0, ended_cleanly=False)
    await database.recordings.create(row)
    database.close()
    await look(house)
    assert (await house.database.recordings.get(folder.name)).state == "recording"
    house.archive.work()
    assert (await house.finished()).id == folder.name
