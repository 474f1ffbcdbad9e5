"""RecordingsRepo: sums, order, and operations that can be repeated."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from relay.database import Database, GapRow, RecordingRow, SegmentRow
from relay.errors import NotFoundError


def segment(seq: int, *, stored: bool = False) -> SegmentRow:
    return SegmentRow(
        seq=seq,
        object_key=f"demo/r1/{seq:06d}.m4s",
        init_key="demo/r1/init-0.mp4",
        started_at=1000.0 + seq * 6,
        start_ms=seq * 6000,
        duration_s=6.0,
        bytes=100,
        sha256="0" * 64,
        stored=stored,
    )


async def test_a_recording_sums_up_its_segments_and_gaps(database: Database) -> None:
    repo = database.recordings
    await repo.create(RecordingRow(id="r1", channel="demo", state="recording", started_at=1000.0, base_ms=5))
    for seq in range(3):
        await repo.add_segment("r1", segment(seq))
    await repo.add_segment("r1", segment(2))
    await repo.mark_stored("r1", 0)
    await repo.add_gap("r1", GapRow(start_ms=6000, length_ms=2500, reason="link lost"))
    await repo.add_gap("r1", GapRow(start_ms=6000, length_ms=2500, reason="link lost"))
    row = await repo.get("r1")
    assert (row.duration_s, row.gap_s, row.bytes, row.segments, row.segments_stored) == (18.0, 2.5, 300, 3, 1)
    assert row.base_ms == 5
    assert [item.stored for item in await repo.segments("r1")] == [True, False, False]
    assert await repo.gaps("r1") == [GapRow(start_ms=6000, length_ms=2500, reason="link lost")]


async def test_each_recording_has_its_own_sums(database: Database) -> None:
    repo = database.recordings
    for index in range(3):
        await repo.create(RecordingRow(id=f"r{index}", channel="a", state="complete", started_at=float(index)))
        for seq in range(index):
            await repo.add_segment(f"r{index}", segment(seq, stored=True))
            await repo.add_gap(f"r{index}", GapRow(start_ms=seq, length_ms=1000, reason="link lost"))
    sums = [(row.id, row.duration_s, row.gap_s, row.segments, row.segments_stored) for row in await repo.newest()]
    assert sums == [("r2", 12.0, 2.0, 2, 2), ("r1", 6.0, 1.0, 1, 1), ("r0", 0.0, 0.0, 0, 0)]


async def test_an_empty_recording_has_zero_sums(database: Database) -> None:
    await database.recordings.create(RecordingRow(id="r1", channel="demo", state="recording", started_at=1.0))
    row = await database.recordings.get("r1")
    assert (row.duration_s, row.gap_s, row.bytes, row.segments, row.segments_stored) == (0, 0, 0, 0, 0)


async def test_newest_first_by_channel_and_running_oldest_first(database: Database) -> None:
    repo = database.recordings
    for index, channel in enumerate(("a", "b", "a")):
        await repo.create(RecordingRow(id=f"r{index}", channel=channel, state="recording", started_at=float(index)))
    await repo.set_state("r1", "complete", 9.0)
    assert [row.id for row in await repo.newest()] == ["r2", "r1", "r0"]
    assert [row.id for row in await repo.newest("a")] == ["r2", "r0"]
    assert [row.id for row in await repo.newest(limit=1, offset=1)] == ["r1"]
    assert [row.id for row in await repo.running()] == ["r0", "r2"]
    assert (await repo.get("r1")).ended_at == 9.0


async def test_creating_twice_keeps_the_first_and_deleting_forgets_all(database: Database) -> None:
    repo = database.recordings
    await repo.create(RecordingRow(id="r1", channel="demo", state="recording", started_at=1.0))
    await repo.create(RecordingRow(id="r1", channel="other", state="recording", started_at=2.0))
    assert (await repo.get("r1")).channel == "demo"
    await repo.add_segment("r1", segment(0))
    await repo.delete("r1")
    assert await repo.segments("r1") == []
    with pytest.raises(NotFoundError, match="r1"):
        await repo.get("r1")


async def test_a_recording_is_restored_as_a_whole_and_only_once(database: Database) -> None:
    repo = database.recordings
    row = RecordingRow(id="r1", channel="demo", state="complete", started_at=1000.0, ended_at=1020.0, base_ms=5)
    lost = [GapRow(start_ms=6000, length_ms=2500, reason="link lost")]
    assert await repo.restore(row, [segment(0, stored=True), segment(1)], lost, replace=False)
    assert not await repo.restore(row, [segment(7)], [], replace=False)
    assert [item.seq for item in await repo.segments("r1")] == [0, 1]
    found = await repo.get("r1")
    assert (found.ended_at, found.base_ms, found.segments_stored, found.gap_s) == (1020.0, 5, 1, 2.5)
    assert await repo.restore(row, [segment(7)], [], replace=True)
    assert ([item.seq for item in await repo.segments("r1")], await repo.gaps("r1")) == ([7], [])
    with pytest.raises(IntegrityError):
        await repo.restore(row, [segment(8), segment(8)], [], replace=True)
    assert [item.seq for item in await repo.segments("r1")] == [7], "half of it was written"


async def test_a_segment_put_between_others_changes_what_is_around_it_and_nothing_else(database: Database) -> None:
    repo = database.recordings
    for name in ("r1", "r2"):
        await repo.create(RecordingRow(id=name, channel="demo", state="complete", started_at=1000.0))
        for seq in (0, 4):
            await repo.add_segment(name, replace(segment(seq, stored=True), discontinuity=seq == 4))
        for start_ms in (6000, 40_000):
            await repo.add_gap(name, GapRow(start_ms=start_ms, length_ms=18_000, reason="segments missing"))
    left = [GapRow(start_ms=at, length_ms=6000, reason="segments missing") for at in (6000, 18_000)]
    for _ in range(2):
        await repo.put_between("r1", segment(2), [6000], left, 4, discontinuity=False)
    assert await repo.gaps("r1") == [*left, GapRow(start_ms=40_000, length_ms=18_000, reason="segments missing")]
    found = [(item.seq, item.stored, item.discontinuity) for item in await repo.segments("r1")]
    assert found == [(0, True, False), (2, False, False), (4, True, False)]
    assert [gap.length_ms for gap in await repo.gaps("r2")] == [18_000, 18_000]
    assert [item.discontinuity for item in await repo.segments("r2")] == [False, True]


async def test_the_last_notes_are_read_in_order(database: Database) -> None:
    repo = database.recordings
    await repo.create(RecordingRow(id="r1", channel="demo", state="recording", started_at=1000.0))
    for seq in range(6):
        await repo.add_segment("r1", replace(segment(seq), notes=f'[["{seq}.ts",5]]' if seq != 3 else ""))
    assert await repo.notes("r1", 3) == [(2, '[["2.ts",5]]'), (4, '[["4.ts",5]]'), (5, '[["5.ts",5]]')]
    assert await repo.notes("r2", 3) == []
    assert (await repo.segments("r1"))[5].notes == '[["5.ts",5]]'
