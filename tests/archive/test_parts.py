"""Parts in order on a good disk, and what a disk that fails does to them."""

import os
import stat
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.archive import parts as module
from relay.archive.committer import Chunk, Committer
from relay.archive.parts import Parts
from relay.archive.spool import ClosedPart, PartInfo, read_part
from relay.media import Codec, Packet, Track
from relay.protocol import flv
from tests.archive.test_archive import until

TRACK = Track(codec=Codec.MP3, sample_rate=44100, channels=2)


class Reader:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.parts: list[ClosedPart] = []

    def committed(self, seq: int) -> None:
        self.seqs.append(seq)

    def closed(self, part: ClosedPart) -> None:
        self.parts.append(part)


def info(start_ms: int, first_seq: int) -> PartInfo:
    return PartInfo(
        recording="r1", channel="talk", seq=-1, base_ms=0, start_ms=start_ms, recording_base_ms=0,
        first_seq=first_seq, started_at=1000.0 + start_ms / 1000, recording_started_at=1000.0,
    )  # fmt: skip


def chunk(seq: int) -> Chunk:
    at = seq * 20
    data = flv.encode_batch([Packet(TRACK, at, at, True, b"\xff\xfb\x90\x64" + bytes([seq]))], (None, None), 0)
    return Chunk(data, 1, seq, at, at, (None, None))


@pytest.fixture
async def committer() -> AsyncIterator[Committer]:
    committer = Committer(0.01)
    yield committer
    await committer.close()


def fill(parts: Parts, first: int, last: int) -> None:
    part = parts.current
    assert part is not None
    for seq in range(first, last + 1):
        parts.append(part, chunk(seq))


def held(part: ClosedPart) -> list[int]:
    found = read_part(part.path, part.before_seq)
    return [] if found is None else [packet.data[-1] for packet in found.packets]


async def test_parts_close_in_order_with_their_numbers(tmp_path: Path, committer: Committer) -> None:
    reader = Reader()
    parts = Parts(tmp_path / "talk" / "r1", committer, reader, 7, lambda: 5000.0)
    parts.open(info(20, 1), (None, None))
    fill(parts, 1, 5)
    assert parts.waiting_bytes > 0
    parts.end(120)
    parts.open(info(120, 6), (None, None))
    fill(parts, 6, 9)
    parts.end(None)
    parts.open(info(200, 10), (None, None))
    parts.end(None)
    await committer.drain()
    assert parts.all_closed
    assert [(part.path.name, part.end_ms, part.closed_at) for part in reader.parts] == [
        ("000007.flv", 120, 5000.0),
        ("000008.flv", None, 5000.0),
    ]
    assert [held(part) for part in reader.parts] == [[1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert (reader.seqs[-1], parts.next_number, parts.waiting_bytes) == (9, 9, 0)


async def test_a_file_the_disk_failed_on_is_never_written_again(
    tmp_path: Path, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    synced: list[int] = []
    real = os.fdatasync

    def failing(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        if len(synced) == 2:
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", failing)
    reader = Reader()
    parts = Parts(tmp_path / "talk" / "r1", committer, reader, 0, lambda: 0.0)
    parts.open(info(20, 1), (None, None))
    fill(parts, 1, 3)
    await committer.drain()
    assert reader.seqs == [3]
    fill(parts, 4, 6)
    await committer.drain()
    assert (reader.seqs, "Input/output error" in parts.disk_error, committer.errors) == ([3], True, 1)
    fill(parts, 7, 8)
    parts.end(None)
    await until(lambda: parts.all_closed)
    assert [held(part) for part in reader.parts] == [[1, 2, 3], [4, 5, 6, 7, 8]]
    assert reader.seqs[-1] == 8
    assert synced[1] == synced[0]
    assert synced[0] not in synced[2:], "what fsync says after an error is worth nothing"
    assert parts.disk_error == ""


async def test_what_comes_while_the_disk_is_failing_is_written_once(
    tmp_path: Path, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part is given up with new packets waiting in it: they go to the next part, and nowhere else."""
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    synced: list[int] = []
    failing = threading.Event()
    real = os.fdatasync

    def slow_and_failing(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        if len(synced) == 2:
            failing.set()
            time.sleep(0.2)
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow_and_failing)
    reader = Reader()
    parts = Parts(tmp_path / "talk" / "r1", committer, reader, 0, lambda: 0.0)
    parts.open(info(20, 1), (None, None))
    fill(parts, 1, 3)
    await committer.drain()
    fill(parts, 4, 6)
    await until(failing.is_set)
    fill(parts, 7, 8)
    await until(lambda: reader.seqs[-1] == 8)
    fill(parts, 9, 9)
    parts.end(None)
    await until(lambda: parts.all_closed)
    await committer.drain()
    assert [held(part) for part in reader.parts] == [[1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert sorted(path.name for path in (tmp_path / "talk" / "r1").iterdir()) == ["000000.flv.part", "000001.flv"]
    assert committer.errors == 1


@pytest.mark.parametrize("with_packets", [True, False])
async def test_a_directory_that_cannot_be_synced_costs_nothing(
    tmp_path: Path, committer: Committer, monkeypatch: pytest.MonkeyPatch, with_packets: bool
) -> None:
    """Which of its two names a closed part has after a power cut makes no difference."""
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    reader = Reader()
    parts = Parts(tmp_path / "talk" / "r1", committer, reader, 0, lambda: 0.0)
    parts.open(info(20, 1), (None, None))
    fill(parts, 1, 3)
    await committer.drain()
    real = os.fsync

    def failing(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", failing)
    if with_packets:
        fill(parts, 4, 5)
    parts.end(None)
    await until(lambda: parts.all_closed)
    monkeypatch.undo()
    parts.open(info(200, 6), (None, None))
    fill(parts, 6, 7)
    parts.end(None)
    await until(lambda: parts.all_closed)
    first = [1, 2, 3, 4, 5] if with_packets else [1, 2, 3]
    assert [held(part) for part in reader.parts] == [first, [6, 7]]
    assert reader.seqs[-1] == 7


@pytest.mark.parametrize("committed", [0, 3])
async def test_a_later_part_waits_for_an_earlier_one_that_failed(
    tmp_path: Path, committer: Committer, monkeypatch: pytest.MonkeyPatch, committed: int
) -> None:
    """It would be told as on disk, with all before it, which is not."""
    monkeypatch.setattr(module, "RETRY_S", 0.2)
    failing = threading.Event()
    real = os.fdatasync

    def slow_and_failing(fd: int) -> None:
        if not failing.is_set():
            failing.set()
            time.sleep(0.2)
            raise OSError(5, "Input/output error")
        real(fd)

    reader = Reader()
    parts = Parts(tmp_path / "talk" / "r1", committer, reader, 0, lambda: 0.0)
    parts.open(info(20, 1), (None, None))
    if committed:
        fill(parts, 1, committed)
        await committer.drain()
    monkeypatch.setattr(os, "fdatasync", slow_and_failing)
    fill(parts, committed + 1, 6)
    parts.end(140)
    parts.open(info(140, 7), (None, None))
    fill(parts, 7, 8)
    await until(failing.is_set)
    fill(parts, 9, 9)
    parts.end(None)
    await until(lambda: parts.all_closed)
    assert reader.seqs == sorted(reader.seqs)
    assert [held(part) for part in reader.parts if held(part)][-2:] == [
        list(range(committed + 1, 7)),
        [7, 8, 9],
    ]
    assert [part.info.seq for part in reader.parts] == list(range(len(reader.parts)))


async def test_what_came_while_a_commit_failed_waits_for_its_turn(
    tmp_path: Path, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later part that is committed first would acknowledge what the earlier one has not got on disk."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    inside, go_on = threading.Event(), threading.Event()
    real = os.fdatasync
    syncs = 0

    def failing(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == 2:
            inside.set()
            assert go_on.wait(10)
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", failing)
    reader = Reader()
    parts = Parts(tmp_path / "talk" / "r1", committer, reader, 0, lambda: 0.0)
    parts.open(info(20, 1), (None, None))
    fill(parts, 1, 3)
    await committer.drain()
    fill(parts, 4, 5)
    await until(inside.is_set)
    parts.end(120)
    parts.open(info(120, 6), (None, None))
    fill(parts, 6, 8)
    go_on.set()
    await committer.drain()
    assert reader.seqs == [3]
    parts.end(None)
    await until(lambda: parts.all_closed)
    assert reader.seqs == sorted(reader.seqs)
    assert [held(part) for part in reader.parts] == [[1, 2, 3], [4, 5], [6, 7, 8]]
    assert [part.info.seq for part in reader.parts] == [0, 1, 2]
