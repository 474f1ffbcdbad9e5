"""Local copies go after their time, never before the store proves to have them; what it lost comes back."""

import shutil
from pathlib import Path

import pytest

from relay.archive import eviction as module
from relay.archive.recording import Recording
from relay.database import RecordingRow
from relay.media import Packet
from tests.archive.house import House
from tests.archive.media import publish


async def record(house: House, packets: list[Packet]) -> tuple[RecordingRow, Path, Path]:
    """A finished recording, its folder in the spool and in the store."""
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    return row, house.settings.data_dir / "spool" / "talk" / row.id, house.stored_folder(row)


async def sweep(house: House, keep_s: float) -> None:
    await house.archive._eviction.sweep(list(house.archive._recordings.values()), keep_s)


async def test_nothing_goes_before_its_time_and_everything_after_it(house: House, packets: list[Packet]) -> None:
    row, spool, store = await record(house, packets)
    before = sorted(path.name for path in spool.iterdir())
    assert [name for name in before if name.endswith(".flv")] == [], "a part goes when its segment is made"
    await sweep(house, 600)
    assert sorted(path.name for path in spool.iterdir()) == before
    assert house.archive.spool_bytes == sum(path.stat().st_size for path in spool.iterdir())
    await sweep(house, -1)
    assert not spool.exists()
    assert len(list(store.glob("*.m4s"))) == row.segments


async def test_what_the_store_lost_is_uploaded_again(house: House, packets: list[Packet]) -> None:
    _, spool, store = await record(house, packets)
    wanted = {path.name: path.read_bytes() for path in store.iterdir() if path.suffix != ".json"}
    for name in ("000001.m4s", "000003.m4s", "init-1.mp4"):
        (store / name).unlink()
    (store / "000002.m4s").write_bytes(b"rotten")
    await sweep(house, -1)
    assert {path.name for path in spool.iterdir()} >= {"000001.m4s", "000002.m4s", "000003.m4s", "init-1.mp4"}
    await house.finished()
    await sweep(house, -1)
    await house.finished()
    assert {path.name: path.read_bytes() for path in store.iterdir() if path.suffix != ".json"} == wanted
    assert house.archive.stats.lost_in_store == 4
    (store / "index.m3u8").unlink(missing_ok=True)
    (spool / "init-1.mp4").touch()
    await sweep(house, -1)
    await house.finished()
    assert (store / "index.m3u8").read_bytes() == wanted["index.m3u8"]
    await sweep(house, -1)
    assert not spool.exists()


async def test_while_the_store_is_away_nothing_goes(house: House, packets: list[Packet]) -> None:
    _, spool, _ = await record(house, packets)
    root = house.settings.data_dir / "archive"
    shutil.move(root, root.with_name("away"))
    root.write_text("in the way")
    before = sorted(path.name for path in spool.iterdir())
    await sweep(house, -1)
    assert sorted(path.name for path in spool.iterdir()) == before
    root.unlink()
    shutil.move(root.with_name("away"), root)


async def test_the_store_is_asked_about_so_many_files_at_a_time(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, spool, _ = await record(house, packets)
    before = len(list(spool.glob("*.m4s")))
    recordings = list(house.archive._recordings.values())
    await house.archive._eviction.sweep(recordings, -1, ask=False)
    assert len(list(spool.glob("*.m4s"))) == before, "a store that is away is not asked"
    monkeypatch.setattr(module, "LOOKS_A_SWEEP", 2)
    for gone in range(2, before + 1, 2):
        await sweep(house, -1)
        assert len(list(spool.glob("*.m4s"))) == before - gone
    monkeypatch.setattr(module, "LOOKS_A_SWEEP", 200)
    await sweep(house, -1)
    assert not spool.exists()


async def test_short_of_space_the_oldest_copies_go_at_once(house: House, packets: list[Packet]) -> None:
    _, spool, _ = await record(house, packets)
    sizes = {path.name: path.stat().st_size for path in spool.iterdir() if path.suffix in (".m4s", ".jpg")}
    assert len(sizes) == 5, "four segments and a thumbnail"
    recordings = list(house.archive._recordings.values())
    freed = await house.archive._eviction.free(recordings, 1)
    assert freed in sizes.values()
    assert len(list(spool.iterdir())) == len(sizes), "one went, and there is the init segment"
    freed += await house.archive._eviction.free(recordings, 1 << 40)
    assert freed >= sum(sizes.values())
    assert [path.name for path in spool.iterdir()] == ["init-1.mp4"]


async def test_media_that_comes_while_a_folder_is_cleared_stays(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher returns to its recording while the store is still asked about what lies there."""
    _, spool, _ = await record(house, packets)
    real = house.archive._papers.lost

    async def meanwhile(recording: Recording) -> bool:
        (spool / "000004.flv.part").write_bytes(b"acknowledged")
        return await real(recording)

    monkeypatch.setattr(house.archive._papers, "lost", meanwhile)
    await sweep(house, -1)
    assert [path.name for path in spool.iterdir()] == ["000004.flv.part"]
