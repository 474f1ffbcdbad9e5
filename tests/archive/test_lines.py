"""From part to store, step by step: what a crash between two steps leaves is done, and done once."""

import asyncio
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.archive import lines as module
from relay.archive import upkeep
from relay.media import Packet
from tests.archive.house import House
from tests.archive.media import publish
from tests.archive.test_archive import same, until


async def test_a_part_whose_segment_is_made_is_not_packaged_again(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut that brought removed parts back."""
    kept: dict[Path, bytes] = {}
    real = upkeep.remove

    def keep(path: Path) -> int:
        if path.suffix == ".flv":
            kept[path] = path.read_bytes()
        return real(path)

    monkeypatch.setattr(upkeep, "remove", keep)
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    await house.stop()
    monkeypatch.undo()
    assert len(kept) == row.segments
    for path, data in kept.items():
        path.write_bytes(data)
    made = {path.name: path.stat().st_mtime_ns for path in house.stored_folder(row).glob("*.m4s")}
    await house.start()
    await until(lambda: not list((house.settings.data_dir / "spool").rglob("*.flv")))
    assert await house.finished() == row
    assert {path.name: path.stat().st_mtime_ns for path in house.stored_folder(row).glob("*.m4s")} == made
    same(packets, house.stored(row))


async def test_segments_packaged_and_not_stored_are_uploaded_after_a_restart(
    house: House, packets: list[Packet]
) -> None:
    store = house.settings.data_dir / "archive"
    await until(store.exists)  # the read-back test
    await asyncio.sleep(0.1)
    shutil.rmtree(store, ignore_errors=True)
    store.write_text("in the way")
    publish(house.hub, "talk", packets)[0].release(clean=True)
    await until(lambda: house.archive.stats.segments["recorded"] == 4)
    await house.stop()
    assert not list((house.settings.data_dir / "spool").rglob("*.flv")), "the segment is what waits for the store"
    store.unlink()
    await house.start()
    row = await house.finished()
    same(packets, house.stored(row))


async def test_a_catalog_that_fails_is_asked_again(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    real = house.database.recordings.add_segment
    failures = 3

    async def failing(*arguments: object) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("disk I/O error")
        await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(house.database.recordings, "add_segment", failing)
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    same(packets, house.stored(row))
    assert house.archive.stats.catalog_errors == 3
    assert house.archive.problems() == []


@pytest.mark.parametrize("step", ["read", "remove"])
async def test_a_disk_that_fails_for_a_while_costs_nothing(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    failures = 5

    def failing(real: Callable[..., object], *arguments: object) -> object:
        nonlocal failures
        if failures and str(arguments[0]).endswith(".flv"):
            failures -= 1
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments)

    where = Path if step == "read" else upkeep
    real = getattr(where, "read_bytes" if step == "read" else "remove")
    monkeypatch.setattr(where, real.__name__, lambda *arguments: failing(real, *arguments))
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    assert not failures
    same(packets, house.stored(row))
    await until(lambda: not list((house.settings.data_dir / "spool").rglob("*.flv*")))


async def test_a_part_that_stays_unreadable_is_set_aside_and_the_rest_goes_on(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    real = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "000001.flv":
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    assert row.segments == 3
    assert house.archive.stats.segments["unreadable"] == 1
    assert len(list((house.settings.data_dir / "spool").rglob("000001.flv.unreadable"))) == 1
