"""Who gives way when the spool disk runs short, and in which order everything comes back."""

from pathlib import Path

import pytest

from relay.archive.committer import Committer
from relay.archive.disk import DiskWatch, Space, space
from relay.archive.recorder import Recorder
from relay.archive.stats import ArchiveStats
from relay.hub import Stream


class House:
    """Three recorders on a disk whose free space the test sets."""

    def __init__(self, folder: Path, committer: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10_000
        self.evictable = 0
        self.events: list[str] = []
        self.stats = ArchiveStats()
        self.recorders: dict[str, Recorder] = {}
        for name, started_at in (("old", 100.0), ("new", 200.0), ("dear", 300.0)):
            recorder = Recorder(
                Stream(name), name, folder / name, committer, self,  # type: ignore[arg-type]
                segment_ms=1, now=lambda: 0.0,
            )  # fmt: skip
            recorder.started_at = started_at
            self.recorders[name] = recorder
        self.disk = DiskWatch(folder, 5, 1000, self.recorders, lambda name: 1 if name == "dear" else 0, self.stats)
        self.disk.evict = self.evict
        self.disk.resumed = lambda: self.events.append("resumed")
        monkeypatch.setattr("relay.archive.disk.space", lambda _: Space(self.free, 20_000))

    async def evict(self, wanted: int) -> int:
        self.events.append(f"evict {wanted}")
        freed = min(wanted, self.evictable)
        self.evictable -= freed
        self.free += freed
        return freed


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    committer = Committer()
    house = House(tmp_path, committer, monkeypatch)
    await committer.close()
    return house


async def test_with_space_nothing_happens(house: House) -> None:
    await house.disk.check()
    assert (house.events, house.disk.is_short, house.disk.problems()) == ([], False, [])


async def test_stored_copies_go_first_and_may_be_enough(house: House) -> None:
    house.free, house.evictable = 900, 5000
    await house.disk.check()
    assert house.events == ["evict 100"]
    assert not house.disk.is_short


async def test_stored_copies_go_before_the_disk_is_full_also_without_a_reserve(house: House) -> None:
    house.disk._reserve_percent = house.disk._reserve_bytes = 0
    house.free, house.evictable = 100, 5000
    await house.disk.check()
    assert house.events == ["evict 300"], "up to a fiftieth of the disk"
    assert not house.disk.is_short
    assert house.disk.paused == []


async def test_then_no_new_recording_and_then_the_least_important_pauses(house: House) -> None:
    house.free = 900
    await house.disk.check()
    assert house.disk.is_short
    assert house.disk.paused == []
    assert "no new recording" in house.disk.problems()[0]
    house.free = 400
    for expected in (["new"], ["old", "new"], ["old", "new", "dear"]):
        await house.disk.check()
        assert house.disk.paused == expected
    await house.disk.check()
    assert house.stats.paused == 3
    assert "dear" in house.disk.problems()[0]
    house.free = 700
    await house.disk.check()
    assert len(house.disk.paused) == 3, "not before the whole reserve is free again"
    house.free = 1000
    await house.disk.check()
    assert (house.disk.paused, house.disk.problems(), house.events[-1]) == ([], [], "resumed")


async def test_the_reserve_is_a_share_or_a_number_and_never_most_of_the_disk(tmp_path: Path) -> None:
    def reserve(percent: float, number: int, total: int) -> int:
        watch = DiskWatch(tmp_path, percent, number, {}, lambda _: 0, ArchiveStats())
        watch.space = Space(0, total)
        return watch.reserve

    assert reserve(5, 1000, 100_000) == 5000
    assert reserve(5, 9000, 100_000) == 9000
    assert reserve(5, 1 << 30, 64 << 20) == 32 << 20


def test_a_folder_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    found = space(tmp_path / "not" / "yet")
    assert 0 < found.free <= found.total
