"""The committer with real files: what it reports is on disk, and a disk that fails loses nothing it was given."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.archive.committer import Chunk, Committer, OpenPart
from relay.archive.spool import PartInfo, read_part
from relay.media import Codec, Packet, Track
from relay.protocol import flv

TRACK = Track(codec=Codec.MP3, sample_rate=44100, channels=2)


class Owner:
    """Keeps what the committer tells it."""

    def __init__(self) -> None:
        self.next_number = 0
        self.told = asyncio.Event()
        self.commits: list[int] = []
        self.closed: list[Path] = []
        self.failures: list[tuple[OpenPart, list[Chunk], OSError]] = []

    def number(self, skip: int) -> int:
        self.next_number += 1 + skip
        return self.next_number - 1

    def committed(self, part: OpenPart, seq: int) -> None:
        self.told.set()
        if seq:
            self.commits.append(seq)
        if part.closed_path is not None:
            self.closed.append(part.closed_path)

    def failed(self, part: OpenPart, chunks: list[Chunk], error: OSError) -> None:
        self.failures.append((part, chunks, error))


@pytest.fixture
async def committer() -> AsyncIterator[Committer]:
    committer = Committer(0.01)
    yield committer
    await committer.close()


def open_part(folder: Path, owner: Owner, first_seq: int = 1) -> OpenPart:
    info = PartInfo(
        recording="r1",
        channel="talk",
        seq=-1,
        base_ms=0,
        start_ms=0,
        recording_base_ms=0,
        first_seq=first_seq,
        started_at=1.0,
        recording_started_at=1.0,
    )
    return OpenPart(folder, info, (None, TRACK), owner)


def chunk(seq: int) -> Chunk:
    packet = Packet(TRACK, seq * 26, seq * 26, True, b"\xff\xfb\x90\x64" + bytes([seq]))
    return Chunk(flv.encode_batch([packet], (None, TRACK)), 1, seq, seq * 26, seq * 26, (None, TRACK))


async def test_commits_are_reported_when_they_can_be_read_back(committer: Committer, tmp_path: Path) -> None:
    owner = Owner()
    part = open_part(tmp_path / "talk" / "r1", owner)
    for seq in (1, 2, 3):
        part.append(chunk(seq))
    committer.touch(part)
    await committer.drain()
    assert owner.commits == [3]
    found = read_part(part.open_path)
    assert found is not None
    assert [packet.data[-1] for packet in found.packets] == [1, 2, 3]
    part.append(chunk(4))
    part.closing = True
    committer.touch(part)
    await committer.drain()
    assert owner.closed == [tmp_path / "talk" / "r1" / "000000.flv"]
    found = read_part(owner.closed[0])
    assert found is not None
    assert found.last_seq == 4
    assert found.verified_length == owner.closed[0].stat().st_size
    assert not part.open_path.exists()


async def test_many_parts_share_a_round(committer: Committer, tmp_path: Path) -> None:
    owners = [Owner() for _ in range(20)]
    for number, owner in enumerate(owners):
        part = open_part(tmp_path / f"c{number}" / "r1", owner)
        part.append(chunk(1))
        committer.touch(part)
    await committer.drain()
    assert [owner.commits for owner in owners] == [[1]] * 20
    assert committer.commits == 20


async def test_what_the_disk_refuses_comes_back_in_order_and_can_be_tried_again(
    committer: Committer, tmp_path: Path
) -> None:
    owner = Owner()
    (tmp_path / "talk").write_text("in the way")
    first, second = open_part(tmp_path / "talk" / "r1", owner), open_part(tmp_path / "talk" / "r1", owner, 2)
    first.append(chunk(1))
    first.closing = True
    second.append(chunk(2))
    committer.touch(first)
    committer.touch(second)
    await committer.drain()
    assert [(part, [item.seq for item in chunks]) for part, chunks, _ in owner.failures] == [
        (first, [1]),
        (second, [2]),
    ]
    assert owner.commits == []
    (tmp_path / "talk").unlink()
    for part, chunks, _ in owner.failures:
        part.put_back(chunks)
        committer.touch(part)
    await committer.drain()
    assert owner.commits == [1, 2]
    assert [path.name for path in owner.closed] == ["000000.flv"]
    assert second.open_path.name == "000001.flv.part"


async def test_a_part_given_up_keeps_its_commits_and_nothing_else(committer: Committer, tmp_path: Path) -> None:
    owner = Owner()
    part = open_part(tmp_path / "talk" / "r1", owner)
    part.append(chunk(1))
    committer.touch(part)
    await committer.drain()
    length = part.open_path.stat().st_size
    part.append(chunk(2))
    part.closing = True
    # A folder of the final name refuses the rename, after the commit went well.
    (part.folder / "000000.flv").mkdir()
    committer.touch(part)
    await committer.drain()
    assert owner.commits == [1, 2]
    ((_, chunks, _),) = owner.failures
    assert chunks == []
    found = read_part(part.open_path)
    assert found is not None
    assert found.last_seq == 2
    assert part.committed_length == part.open_path.stat().st_size > length


async def test_work_does_not_wait_for_the_disk(committer: Committer, tmp_path: Path) -> None:
    owner = Owner()
    part = open_part(tmp_path / "talk" / "r1", owner)
    part.append(chunk(1))
    committer.touch(part)
    assert owner.commits == []
    assert part.dirty
    async with asyncio.timeout(10):
        await owner.told.wait()
    assert owner.commits == [1]
    assert not part.dirty
