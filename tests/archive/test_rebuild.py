"""Rebuild: an empty catalog becomes what it was, from whatever of the papers is left; and says what it could not do."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from relay.archive.manifest import build, parse
from relay.archive.rebuild import NOT_IN_STORE, NOT_KNOWN, Outcome, rebuild
from relay.archive.signing import PublicKey, Signer
from relay.archive.store import FileStore
from relay.config import Settings
from relay.database import Database, GapRow, RecordingRow, SegmentRow

Rows = tuple[RecordingRow, list[SegmentRow], list[GapRow]]


class Archive:
    """A copy of a real store, and an empty catalog to fill."""

    def __init__(self, kept: Path, folder: Path) -> None:
        self.kept = kept
        self.root = Path(shutil.copytree(kept / "archive", folder / "archive"))
        [self.recording] = (self.root / "talk").iterdir()
        self.catalog = Settings(data_dir=folder / "data")

    async def rebuild(
        self, key: PublicKey | None = None, *, unsigned: bool = False, replace_known: bool = False
    ) -> list[Outcome]:
        database = Database(self.catalog)
        outcomes: list[Outcome] = []
        await rebuild(
            FileStore(self.root),
            database.recordings,
            key=key,
            unsigned=unsigned,
            replace_known=replace_known,
            told=outcomes.append,
        )
        database.close()
        return outcomes

    async def rows(self, settings: Settings | None = None) -> list[Rows]:
        database = Database(settings or self.catalog)
        repo = database.recordings
        found = [(row, list(await repo.segments(row.id)), list(await repo.gaps(row.id))) for row in await repo.newest()]
        database.close()
        return found

    async def was(self) -> Rows:
        """What the relay that recorded it has in its catalog."""
        [found] = await self.rows(Settings(data_dir=self.kept))
        return found

    async def now(self) -> Rows:
        [found] = await self.rows()
        return found


@pytest.fixture
def archive(kept: Path, tmp_path: Path) -> Archive:
    return Archive(kept, tmp_path)


def assert_alike(now: Rows, was: Rows, *, exact: bool) -> None:
    frame_s, second = (0.001, 1e-5) if exact else (0.05, 0.002)
    assert (now[0].id, now[0].channel, now[0].state) == (was[0].id, was[0].channel, "complete")
    assert now[0].started_at == pytest.approx(was[0].started_at, abs=second)
    assert now[0].ended_at == pytest.approx(was[0].ended_at, abs=0.1)
    assert now[0].duration_s == pytest.approx(was[0].duration_s, abs=frame_s * len(was[1]))
    assert (now[0].segments, now[0].segments_stored, now[0].bytes) == (was[0].segments, was[0].segments, was[0].bytes)
    for row, own in zip(now[1], was[1], strict=True):
        alike = replace(row, started_at=own.started_at, duration_s=own.duration_s, start_ms=own.start_ms)
        assert alike == own
        assert row.started_at == pytest.approx(own.started_at, abs=second)
        assert row.start_ms == pytest.approx(own.start_ms, abs=1)
        assert row.duration_s == pytest.approx(own.duration_s, abs=frame_s)
    assert len(now[2]) == len(was[2]) == 1
    assert now[2][0].length_ms == pytest.approx(was[2][0].length_ms, abs=frame_s * 1000)


async def test_from_its_manifest_everything_comes_back(archive: Archive, signer: Signer) -> None:
    [outcome] = await archive.rebuild(signer.public)
    assert (outcome.what, outcome.recording, outcome.notes) == ("rebuilt", archive.recording.name, [])
    was, now = await archive.was(), await archive.now()
    assert outcome.segments == len(was[1])
    assert_alike(now, was, exact=True)
    assert now[2] == was[2]
    assert now[0].base_ms == was[0].base_ms


async def test_what_is_known_stays_unless_it_shall_be_replaced(archive: Archive) -> None:
    await archive.rebuild()
    database = Database(archive.catalog)
    await database.recordings.mark_stored(archive.recording.name, 0, stored=False)
    database.close()
    assert [outcome.what for outcome in await archive.rebuild()] == ["known"]
    assert (await archive.now())[1][0].stored is False
    assert [outcome.what for outcome in await archive.rebuild(replace_known=True)] == ["replaced"]
    assert_alike(await archive.now(), await archive.was(), exact=True)


async def test_without_a_manifest_playlist_and_segments_tell(archive: Archive, signer: Signer) -> None:
    (archive.recording / "manifest.json").unlink()
    [outcome] = await archive.rebuild(signer.public)
    assert (outcome.what, outcome.notes) == ("rebuilt", ["it has no manifest: rebuilt from its playlist and segments"])
    now, was = await archive.now(), await archive.was()
    assert_alike(now, was, exact=False)
    assert [gap.reason for gap in now[2]] == [NOT_KNOWN]


async def test_without_either_the_segments_alone_tell(archive: Archive) -> None:
    for name in ("manifest.json", "index.m3u8"):
        (archive.recording / name).unlink()
    await archive.rebuild()
    now, was = await archive.now(), await archive.was()
    assert len(now[1]) == len(was[1])
    assert now[0].duration_s == pytest.approx(was[0].duration_s, abs=0.05 * len(was[1]))
    assert now[0].started_at == pytest.approx(was[0].started_at, abs=1.1), "its name tells the second"


async def test_what_came_after_the_manifest_is_taken_as_it_is(archive: Archive, signer: Signer) -> None:
    path = archive.recording / "manifest.json"
    found = parse(path.read_bytes())
    inits = {f"x/{name}": fact for name, fact in found.inits.items()}
    row = replace(found.row, state="recording", ended_at=None)
    early = build(row, found.segments[:2], [], inits, complete=False, signer=signer, now=1.0)
    path.write_bytes(early)
    (archive.recording / "index.m3u8").unlink()
    [outcome] = await archive.rebuild(signer.public)
    newer = len(found.segments) - 2
    assert outcome.notes == [f"{newer} segments, from 000002.m4s on, are newer than its manifest"]
    assert_alike(await archive.now(), await archive.was(), exact=False)
    assert path.read_bytes() == early, "the store is not to be changed"


async def test_a_manifest_that_does_not_hold_is_not_believed(archive: Archive, signer: Signer, tmp_path: Path) -> None:
    path = archive.recording / "manifest.json"
    good = path.read_bytes()
    other = Signer(tmp_path / "evidence.key")
    cases = [
        (good, other.public, "taken all the same", "it is signed with key"),
        (good.replace(b'"reason":"', b'"reason":"x'), signer.public, "taken all the same", "its signature by key"),
        (good.replace(b'"start_ms":0', b'"start_ms":1'), None, "rebuilt from its playlist and segments", "its chain"),
        (b"{}", None, "rebuilt from its playlist and segments", "it is not a manifest"),
    ]
    for data, key, _, words in cases:
        path.write_bytes(data)
        [outcome] = await archive.rebuild(key)
        assert outcome.what == "skipped"
        assert f"manifest.json: {words}" in outcome.notes[0]
        assert "; with --unsigned it is " in outcome.notes[0]
        assert await archive.rows() == []
    for data, key, instead, words in cases:
        path.write_bytes(data)
        [outcome] = await archive.rebuild(key, unsigned=True, replace_known=True)
        assert outcome.what in ("rebuilt", "replaced")
        assert words in outcome.notes[0]
        assert outcome.notes[0].endswith(instead)
        assert len((await archive.now())[1]) == len((await archive.was())[1])


async def test_a_manifest_in_another_recordings_place_is_not_believed(archive: Archive) -> None:
    shutil.copytree(archive.recording, archive.recording.with_name("20200101T000000Z-000000"))
    outcomes = {outcome.recording: outcome for outcome in await archive.rebuild()}
    assert outcomes[archive.recording.name].what == "rebuilt"
    copy = outcomes["20200101T000000Z-000000"]
    assert copy.what == "skipped"
    assert copy.notes[0].startswith(f"manifest.json: it is that of talk/{archive.recording.name}")


async def test_lost_segments_become_gaps_and_damaged_ones_are_told(archive: Archive, signer: Signer) -> None:
    was = await archive.was()
    last = was[1][-1]
    for name in ("000001.m4s", last.object_key.rpartition("/")[2]):
        (archive.recording / name).unlink()
    (archive.recording / "000002.m4s").write_bytes(b"short")
    [outcome] = await archive.rebuild(signer.public)
    assert outcome.notes == [
        "segment 000001.m4s is missing in the store",
        f"segment 000002.m4s has 5 bytes in the store, and {was[1][2].bytes} were recorded",
        f"segment {last.seq:06d}.m4s is missing in the store",
    ]
    row, segments, gaps = await archive.now()
    assert [item.seq for item in segments] == [item.seq for item in was[1] if item.seq not in (1, last.seq)]
    assert segments[1].discontinuity
    lost = [gap for gap in gaps if gap.reason == NOT_IN_STORE]
    assert [gap.start_ms for gap in lost] == [was[1][1].start_ms, last.start_ms]
    assert row.duration_s + row.gap_s == pytest.approx(was[0].duration_s + was[0].gap_s, abs=0.01)
    assert row.ended_at == pytest.approx(was[0].ended_at, abs=1e-5)


async def test_what_cannot_be_played_or_is_no_recording(archive: Archive) -> None:
    (archive.recording / "init-1.mp4").unlink()
    for name in ("relay-check/read-back", "Talk/x/000000.m4s", "talk/notes/readme.txt", "talk/a/b/000000.m4s"):
        (archive.root / name).parent.mkdir(parents=True, exist_ok=True)
        (archive.root / name).write_bytes(b"x")
    [outcome] = await archive.rebuild()
    assert "init segment init-1.mp4 is missing in the store: what needs it cannot be played" in outcome.notes
    for path in archive.recording.glob("*.m4s"):
        path.unlink()
    [outcome] = await archive.rebuild(replace_known=True)
    assert (outcome.what, outcome.notes) == ("skipped", ["none of its segments is in the store"])
    assert len((await archive.now())[1]) > 4, "what was known stays"


async def test_an_empty_store_gives_an_empty_catalog(archive: Archive) -> None:
    shutil.rmtree(archive.root)
    archive.root.mkdir()
    assert await archive.rebuild() == []
    assert await archive.rows() == []
