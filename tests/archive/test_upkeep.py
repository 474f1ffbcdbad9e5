"""What a run leaves in the spool is found in order, and what is safe long enough goes."""

import errno
import os
from pathlib import Path

import pytest

from relay.archive import upkeep
from relay.archive.spool import PartInfo, Spool, commit_tag, part_header
from relay.archive.upkeep import LeftPart
from relay.errors import SpoolError
from relay.media import Codec, Packet, Track
from relay.protocol import flv

TRACK = Track(codec=Codec.MP3, sample_rate=44100, channels=2)


def part(
    path: Path, seq: int, start_ms: int, first_seq: int, gap: str = "", base_ms: int = 100, late: bool = False
) -> Path:
    info = PartInfo(
        recording=path.parent.name,
        channel=path.parent.parent.name,
        seq=seq,
        base_ms=0,
        start_ms=start_ms,
        recording_base_ms=base_ms,
        first_seq=first_seq,
        started_at=1000.0 + start_ms / 1000,
        recording_started_at=1000.0,
        gap=gap,
        late=late,
    )
    packet = Packet(TRACK, start_ms, start_ms, True, b"\xff\xfb\x90\x64")
    run = part_header(info, (None, None)) + flv.encode_batch([packet], (None, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(run + commit_tag(run, offset=len(run), seq=first_seq, packets=1, timestamp=0))
    return path


def test_leftovers_are_found_oldest_first_without_opening_them(tmp_path: Path) -> None:
    newer = tmp_path / "talk" / "20261124T120000Z-bbbbbb"
    older = tmp_path / "show" / "20261124T110000Z-aaaaaa"
    first = part(newer / "000003.flv", 3, 100, 1)
    second = part(newer / "000004.flv", 4, 6100, 50)
    third = part(newer / "000006.flv.part", 6, 20_000, 90, gap="link lost")
    (newer / "init-1.mp4").write_bytes(b"init")
    (newer / "000009.m4s.tmp").write_bytes(b"half")
    older.mkdir(parents=True)
    (older / "000011.m4s").write_bytes(b"segment")
    one, other = upkeep.find(Spool(tmp_path))
    assert (one.id, one.channel, one.parts, one.next_number) == (older.name, "show", [], 12)
    assert upkeep.row(one).started_at == 1795518000.0
    assert (upkeep.row(other).started_at, upkeep.row(other).base_ms, other.next_number) == (1000.0, 100, 7)
    found = [upkeep.resolve(left) for left in other.parts]
    assert [(item.path, item.end_ms, item.before_seq) for item in found if item is not None] == [
        (first, 6100, 50),
        (second, None, None),  # its number does not follow: what was between them is done already
        (third, None, None),
    ]
    assert not (newer / "000009.m4s.tmp").exists()
    assert upkeep.tail(other) == (19_900, 1020.0)


def test_a_late_part_bounds_no_other_and_is_bounded_by_none(tmp_path: Path) -> None:
    """Its packets are numbered from 1, theirs from wherever the stream was; without a hole there is no gap to tell."""
    folder = tmp_path / "talk" / "r1"
    part(folder / "000003.flv", 3, 6100, 50)
    part(folder / "000004.flv", 4, 12_100, 1, late=True)
    part(folder / "000005.flv.part", 5, 18_100, 1)
    (found,) = upkeep.find(Spool(tmp_path))
    resolved = [upkeep.resolve(left) for left in found.parts]
    assert [(item.end_ms, item.before_seq) for item in resolved if item is not None] == [(None, None)] * 3


def test_an_open_part_without_a_commit_goes_and_a_closed_one_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "talk" / "r1"
    part(folder / "000000.flv", 0, 0, 1).write_bytes(b"FLV\x01 and then nothing")
    part(folder / "000001.flv.part", 1, 0, 1).write_bytes(b"")
    (found,) = upkeep.find(Spool(tmp_path))
    assert upkeep.tail(found) is None
    assert [upkeep.resolve(left) for left in found.parts] == [None, None]
    assert [path.name for path in folder.iterdir()] == ["000000.flv.unreadable"]


def test_a_small_part_with_a_torn_tail_keeps_its_commits(tmp_path: Path) -> None:
    path = part(tmp_path / "talk" / "r1" / "000000.flv.part", 0, 0, 1)
    with path.open("ab") as file:
        file.write(b"no tag of any kind")
    (found,) = upkeep.find(Spool(tmp_path))
    resolved = upkeep.resolve(found.parts[0])
    assert resolved is not None
    assert resolved.path == path


def test_an_open_part_with_commits_is_not_removed_though_it_does_not_say_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "talk" / "r1" / "000000.flv.part"
    path.parent.mkdir(parents=True)
    run = flv.file_header(has_video=True, has_audio=True)
    path.write_bytes(run + commit_tag(run, offset=len(run), seq=1, packets=1, timestamp=0))
    (found,) = upkeep.find(Spool(tmp_path))
    assert upkeep.resolve(found.parts[0]) is None
    assert [path.name for path in path.parent.iterdir()] == ["000000.flv.part.unreadable"]


def test_an_open_part_the_disk_does_not_give_now_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = part(tmp_path / "talk" / "r1" / "000000.flv.part", 0, 0, 1)
    real = Path.open
    opened = 0

    def failing(path: Path, *arguments: object) -> object:
        nonlocal opened
        opened += 1
        if opened == 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(SpoolError, match="Input/output error"):
        upkeep.resolve(LeftPart(path, None))
    found = upkeep.resolve(LeftPart(path, None))
    assert found is not None
    assert found.path == path


def test_no_spool_has_no_leftovers(tmp_path: Path) -> None:
    assert upkeep.find(Spool(tmp_path / "spool")) == []
    assert upkeep.files(Spool(tmp_path / "spool")) == {}


def test_files_are_counted_touched_removed_and_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "talk" / "r1"
    path = part(folder / "000000.flv", 0, 0, 1)
    os.utime(path, (0, 0))
    ((file,),) = upkeep.files(Spool(tmp_path)).values()
    assert (file.path, file.size, file.changed_at) == (path, path.stat().st_size, 0)
    upkeep.touch(path)
    assert path.stat().st_mtime > 0
    assert (upkeep.remove(path), upkeep.remove(path)) == (file.size, 0)
    upkeep.touch(path)
    assert not path.exists()
    (folder / "init-1.mp4").write_bytes(b"init")
    upkeep.clear(Spool(tmp_path), folder)
    upkeep.clear(Spool(tmp_path), folder)
    assert list(tmp_path.iterdir()) == []
