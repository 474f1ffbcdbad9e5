"""Salvage: rows made of segments' own bytes are those the recorder wrote, or the segment is left out with a reason."""

from pathlib import Path

import pytest

from relay.archive.manifest import parse
from relay.archive.playlist import read_playlist
from relay.archive.salvage import Salvage, is_segment
from relay.archive.store import FileStore
from relay.database import SegmentRow


def salvage(folder: Path, *, playlist: bool, started_at: float | None = None) -> tuple[Salvage, list[str]]:
    notes: list[str] = []
    listed = read_playlist((folder / "index.m3u8").read_bytes()).segments if playlist else []
    names = {path.name for path in folder.iterdir()}
    store = FileStore(folder.parent.parent)
    prefix = f"{folder.parent.name}/{folder.name}"
    return Salvage(store, prefix, names, {item.name: item for item in listed}, started_at, notes), notes


def recorded(folder: Path) -> tuple[SegmentRow, ...]:
    return parse((folder / "manifest.json").read_bytes()).segments


def assert_alike(rows: list[SegmentRow], folder: Path, tolerance_ms: int) -> None:
    expected = recorded(folder)
    assert len(rows) == len(expected) > 4
    for row, own in zip(rows, expected, strict=True):
        assert row.object_key == f"{folder.parent.name}/{folder.name}/{own.object_key.rpartition('/')[2]}"
        assert row.init_key.endswith("/init-1.mp4")
        assert (row.seq, row.bytes, row.sha256) == (own.seq, own.bytes, own.sha256)
        assert (row.stored, row.starts_with_keyframe, row.thumbnail) == (True, True, own.thumbnail)
        assert row.start_ms == pytest.approx(own.start_ms, abs=1)
        assert row.duration_s * 1000 == pytest.approx(own.duration_s * 1000, abs=tolerance_ms)
        assert row.started_at == pytest.approx(own.started_at, abs=0.002)


def test_with_its_playlist_a_segment_is_known_to_the_millisecond(folder: Path) -> None:
    found, notes = salvage(folder, playlist=True)
    rows = found.rows(())
    assert_alike(rows, folder, 1)
    assert [row.discontinuity for row in rows] == [row.discontinuity for row in recorded(folder)]
    assert notes == []
    assert found.started_at == pytest.approx(recorded(folder)[0].started_at, abs=0.002)


def test_without_it_to_a_frame(folder: Path) -> None:
    found, notes = salvage(folder, playlist=False, started_at=recorded(folder)[0].started_at)
    assert_alike(found.rows(()), folder, 50)
    assert notes == []


def test_known_numbers_are_left_alone(folder: Path) -> None:
    found, _ = salvage(folder, playlist=True)
    assert [row.seq for row in found.rows({0, 1, 2})] == [row.seq for row in recorded(folder)][3:]


def test_a_start_nothing_tells_is_in_the_name(folder: Path) -> None:
    named = folder.rename(folder.with_name("20260102T030405Z-abcdef"))
    found, _ = salvage(named, playlist=False)
    assert found.rows(())[0].started_at == pytest.approx(1767323045, abs=1)
    other, _ = salvage(named.rename(folder), playlist=False)
    assert other.rows(())[0].started_at == pytest.approx(0, abs=1)


def test_what_cannot_be_read_is_left_out_with_the_reason(folder: Path) -> None:
    data = (folder / "000002.m4s").read_bytes()
    (folder / "000001.m4s").write_bytes(b"hello")
    (folder / "000002.m4s").write_bytes(data[: len(data) // 2])
    (folder / "000003.m4s").write_bytes(b"")
    (folder / "000077.raw.flv").write_bytes(b"FLV")
    found, notes = salvage(folder, playlist=True)
    kept = [row.seq for row in found.rows(())]
    assert kept[:2] == [0, 4]
    assert [note.partition(" is left out: ")[::2] for note in notes] == [
        ("000001.m4s", "MP4 box is cut short"),
        ("000002.m4s", "MP4 box b'mdat' of " + notes[1].rpartition(" of ")[2]),
        ("000003.m4s", "there is no media in it"),
        ("000077.raw.flv", "only a manifest could tell its time"),
    ]


def test_without_an_init_segment_there_is_nothing_to_play(folder: Path) -> None:
    (folder / "init-1.mp4").unlink()
    found, notes = salvage(folder, playlist=True)
    assert found.rows(()) == []
    assert "000000.m4s is left out: its init segment init-1.mp4 is missing" in notes
    found, notes = salvage(folder, playlist=False)
    assert found.rows(()) == []
    assert "000000.m4s is left out: there is no init segment" in notes


def test_names_of_segments() -> None:
    assert [name for name in ("000000.m4s", "1234567.m4s", "1.m4s", "x.m4s", "000000.raw.flv") if is_segment(name)] == [
        "000000.m4s",
        "1234567.m4s",
    ]
