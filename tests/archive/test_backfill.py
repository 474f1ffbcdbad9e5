"""Late segments: each in its place once, whatever was written meanwhile; then nothing tells that they were late."""

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from relay.archive import backfill as module
from relay.archive.export import prepare
from relay.archive.lines import Lines
from relay.archive.recorder import MISSING
from relay.archive.recording import Recording, media_end_ms
from relay.archive.spool import ClosedPart, PartInfo
from relay.archive.store import FileStore
from relay.archive.upkeep import LeftPart
from relay.archive.verify import verify
from relay.config import ArchiveSettings, Settings
from relay.database import GapRow, RecordingRow
from relay.errors import SpoolError
from relay.hub.batch import Batch, Note
from relay.hub.hub import Lease
from relay.media import Codec, Packet, Track, TrackKind
from tests.archive.house import House
from tests.archive.media import Connection, shifted
from tests.archive.test_archive import same, until
from tests.archive.test_export import Read, made
from tests.archive.test_rebuild import Archive
from tests.support.snapshot import snapshot


class Piece(NamedTuple):
    name: str
    packets: list[Packet]


def pieces(packets: Sequence[Packet], rounds: int = 2) -> list[Piece]:
    """``packets`` again and again, as a publisher of HLS sends them: in segments of two seconds."""
    found: list[Piece] = []
    begin_ms = 0
    length_ms = 8000
    for turn in range(rounds):
        for packet in shifted(packets, turn * length_ms):
            starts = packet.is_video and packet.is_keyframe and packet.dts_ms - begin_ms > 1900
            if not found or starts:
                found.append(Piece(f"{len(found)}.ts", []))
                begin_ms = packet.dts_ms
            found[-1].packets.append(packet)
    assert len(found) == 4 * rounds
    return found


def keep(house: House, sent: Sequence[Piece], *wanted: int, lease: Lease | None = None) -> Lease:
    """The pieces of these numbers, on time."""
    lease = lease or house.hub.publish("talk", Connection())
    before = -1
    for number in wanted:
        lease.keep(sent[number].packets, sent[number].name, number - before - 1 if before >= 0 else 0)
        before = number
    return lease


async def late(house: House, piece: Piece) -> bool:
    async with asyncio.timeout(30):
        return await house.archive.backfill("talk", piece.packets, piece.name)


async def settled(house: House, segments: int, packaged: int = 0) -> RecordingRow:
    """The recording once it is complete with that many segments, and its papers say so.

    ``packaged``: how many of them were so when this process began.
    """
    await until(lambda: house.archive.stats.segments["recorded"] >= segments - packaged)
    row = await house.finished()
    assert row.segments == segments
    return row


async def check(house: House, row: RecordingRow, sent: Sequence[Piece]) -> list[GapRow]:
    """What is there is all of ``sent``, once, in order, vouched for; the gaps between."""
    stored = house.stored(row)
    same([packet for piece in sent for packet in piece.packets], stored)
    verdict = await asyncio.to_thread(verify, FileStore(house.stored_folder(row)), "", house.archive.signer.public)
    assert verdict.problems == []
    assert verdict.manifest is not None
    assert verdict.manifest.is_final
    assert verdict.media_ms + verdict.gap_ms == pytest.approx(verdict.length_ms, abs=40)
    gaps = list(await house.database.recordings.gaps(row.id))
    assert list(verdict.manifest.gaps) == gaps
    rows = await house.database.recordings.segments(row.id)
    holes = [after.start_ms - media_end_ms(before) > 100 for before, after in pairwise(rows)]
    inits = [after.init_key != before.init_key for before, after in pairwise(rows)]
    breaks = [hole or init for hole, init in zip(holes, inits, strict=True)]
    assert [item.discontinuity for item in rows] == [False, *breaks]
    assert stored.playlist.count("#EXT-X-DISCONTINUITY\n") == sum(breaks)
    assert ("#EXT-X-GAP" in stored.playlist) is bool(gaps)
    assert len(gaps) == sum(holes)
    return gaps


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_late_ones_find_their_place_while_the_stream_runs(
    house: House, packets: list[Packet], order: tuple[int, ...]
) -> None:
    sent = pieces(packets)
    lease = keep(house, sent, 0, 3)
    for number in order:
        assert await late(house, sent[number]), "though what follows is still being written"
    lease.keep(sent[4].packets, sent[4].name)
    await until(lambda: house.archive.stats.segments["stored"] == 4)
    lease.keep(sent[7].packets, sent[7].name, 2)
    for number in (6, 5):
        assert await late(house, sent[number])
    lease.release(clean=True)
    row = await settled(house, 8)
    assert await check(house, row, sent) == []
    rows = await house.database.recordings.segments(row.id)
    assert [item.seq for item in rows] == list(range(8))
    assert row.duration_s == pytest.approx(16, abs=0.1)


async def test_late_ones_find_their_place_when_the_recording_is_complete(
    house: House, packets: list[Packet], tmp_path: Path
) -> None:
    sent = pieces(packets)
    keep(house, sent, 0, 4, 5, 7).release(clean=True)
    row = await settled(house, 4)
    first, last = await check(house, row, [sent[number] for number in (0, 4, 5, 7)])
    assert {first.reason, last.reason} == {MISSING}
    assert (first.length_ms, last.length_ms) == (pytest.approx(6000, abs=50), pytest.approx(2000, abs=50))
    assert await late(house, sent[2])
    row = await settled(house, 5)
    gaps = await check(house, row, [sent[number] for number in (0, 2, 4, 5, 7)])
    assert [gap.length_ms for gap in gaps] == [pytest.approx(2000, abs=50)] * 3
    assert {gap.reason for gap in gaps} == {MISSING}
    for count, number in enumerate((3, 6, 1), 6):
        assert await late(house, sent[number])
        row = await settled(house, count)
    assert await check(house, row, sent) == []
    assert row.state == "complete"
    assert row.gap_s == 0
    assert house.archive.stats.segments["late"] == 4
    export = Read(await made(await prepare(house.archive.library, row.id), tmp_path))
    wanted = [packet.data for piece in sent for packet in piece.packets if packet.is_video]
    assert export.payloads(TrackKind.VIDEO) == wanted


async def test_what_has_no_place_is_refused_and_changes_nothing(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pieces(packets)
    assert not await late(house, sent[0]), "nothing is recorded"
    lease = keep(house, sent, 1, 2, 4)
    assert not await late(house, sent[0]), "it is before the first"
    assert not await late(house, sent[5]), "nothing is behind it"
    assert not await late(house, Piece("again", sent[2].packets)), "it is there"
    assert not await late(house, Piece("open", sent[4].packets)), "it is there, in the part that is open"
    over = shifted(sent[3].packets, -300)
    assert not await late(house, Piece("over", over)), "it overlaps what is before it"
    assert not await late(house, Piece("over", shifted(sent[3].packets, 300))), "it overlaps what is behind it"
    turned = Track(codec=Codec.MP3, sample_rate=44100, channels=2)
    first, *others = sent[3].packets
    assert not await late(house, Piece("turned", [first, *others, others[-1]._replace(track=turned), *others[:1]]))
    assert not await late(house, Piece("nothing", []))
    with monkeypatch.context() as patch:
        patch.setattr(module, "LARGEST_BYTES", sum(len(packet.data) for packet in sent[3].packets) - 1)
        assert not await late(house, sent[3]), "it is too large"
    # A gap that the publisher's numbers do not tell of has no numbers free.
    lease.keep(sent[6].packets, sent[6].name)
    assert not await late(house, sent[5])
    assert not await house.archive.backfill("show", sent[3].packets, "")
    assert await late(house, sent[3])
    assert not await late(house, Piece("again", sent[3].packets)), "its number is taken"
    lease.release(clean=True)
    row = await settled(house, 5)
    (gap,) = await check(house, row, [sent[number] for number in (1, 2, 3, 4, 6)])
    assert gap.length_ms == pytest.approx(2000, abs=50)


async def test_what_is_sent_again_because_nobody_was_told_is_there_once(house: House, packets: list[Packet]) -> None:
    sent = pieces(packets)
    lease = keep(house, sent, 0, 3)
    tries = [asyncio.create_task(late(house, sent[1])) for _ in range(3)]
    await until(lambda: bool(house.archive._backfill._waiting))
    tries[0].cancel()
    assert await asyncio.gather(*tries[1:]) == [True, True]
    lease.release(clean=True)
    row = await settled(house, 3)
    await check(house, row, [sent[number] for number in (0, 1, 3)])
    assert await late(house, sent[1]), "it is known later as well"
    row = await settled(house, 3)


async def test_a_disk_that_refuses_is_said_and_it_may_be_tried_again(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pieces(packets)
    lease = keep(house, sent, 0, 2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(SpoolError, match="No space left"):
            await late(house, sent[1])
    house.archive.disk.is_short = True
    with pytest.raises(SpoolError, match="short of space"):
        await late(house, sent[1])
    house.archive.disk.is_short = False
    assert await late(house, sent[1])
    lease.release(clean=True)
    await check(house, await settled(house, 3), sent[:3])


async def test_an_error_of_our_own_does_not_hold_up_the_line(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pieces(packets)
    lease = keep(house, sent, 0, 2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_place", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await late(house, sent[1])
    lease.release(clean=True)
    await check(house, await settled(house, 2), [sent[0], sent[2]])


@pytest.mark.parametrize("complete", [False, True])
async def test_a_kill_between_disk_and_packaging_loses_nothing(
    house: House, packets: list[Packet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    sent = pieces(packets)
    lease = keep(house, sent, 0, 4, 5)
    if complete:
        lease.release(clean=True)
        await settled(house, 3)
    real = Lines.part
    dead = asyncio.Event()

    async def stuck(lines: Lines, recording: Recording, item: ClosedPart | LeftPart) -> None:
        if isinstance(item, ClosedPart) and item.info.late:
            await dead.wait()
        await real(lines, recording, item)

    with monkeypatch.context() as patch:
        patch.setattr(Lines, "part", stuck)
        assert await late(house, sent[2])
        await house.archive._committer.drain()
        crashed = tmp_path / "crashed"
        snapshot(house.settings.data_dir, crashed)
    dead.set()
    assert len(list((crashed / "spool").rglob("000002.flv"))) == 1
    other = await House(house.settings.model_copy(update={"data_dir": crashed})).start()
    row = await settled(other, 4, 3 if complete else 2)
    gaps = await check(other, row, [sent[number] for number in (0, 2, 4, 5)])
    assert [gap.length_ms for gap in gaps] == [pytest.approx(2000, abs=50)] * 2
    assert {gap.reason for gap in gaps} == {MISSING}
    assert not await late(other, sent[1]), "no stream runs here whose times these could be"
    await other.stop()


async def test_a_recording_that_went_on_takes_late_ones_of_both_streams_times(
    house: House, packets: list[Packet], tmp_path: Path
) -> None:
    """After a restart the publisher's times count from another base."""
    sent = pieces(packets)
    lease = keep(house, sent, 0, 1)
    lease.release(clean=False)
    await house.stop()
    packaged = house.archive.stats.segments["recorded"]
    await house.start()
    again = [Piece(f"again-{piece.name}", shifted(piece.packets, 77_000)) for piece in sent]
    lease = keep(house, again, 2, 4)
    assert await late(house, again[3])
    lease.release(clean=True)
    row = await settled(house, 5, packaged)
    await check(house, row, [*sent[:2], *again[2:5]])


async def test_stopping_tells_who_waits(house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pieces(packets)
    keep(house, sent, 0, 2)
    await until(lambda: house.archive.stats.segments["stored"] == 1)

    real, answered = module._write_part, threading.Event()

    def slow(path: Path, info: PartInfo, batch: Batch) -> bool:
        answered.wait(30)
        return real(path, info, batch)

    monkeypatch.setattr(module, "_write_part", slow)
    waiting = asyncio.create_task(late(house, sent[1]))
    await until(lambda: bool(house.archive._backfill._waiting))
    house.archive._backfill.close()
    with pytest.raises(SpoolError, match="stopping"):
        await waiting
    with pytest.raises(SpoolError, match="stopping"):
        await late(house, sent[1])
    answered.set()
    await house.stop()
    await house.start()
    assert Note("1.ts", len(sent[1].packets)) in await house.archive.notes("talk"), "durable after all, and known"
    await check(house, await settled(house, 3, 3), sent[:3])


async def test_what_was_recorded_is_known_after_a_crash_and_forgotten_after_a_goodbye(
    house: House, packets: list[Packet], tmp_path: Path
) -> None:
    sent = pieces(packets)
    assert await house.archive.notes("talk") == []
    lease = keep(house, sent, 0, 1, 3)
    assert await late(house, sent[2])
    await house.archive._committer.drain()
    everything = [Note(piece.name, len(piece.packets)) for piece in sent[:4]]
    assert await house.archive.notes("talk") == everything, "packaged, closed and open ones"
    crashed = tmp_path / "crashed"
    snapshot(house.settings.data_dir, crashed)
    other = await House(house.settings.model_copy(update={"data_dir": crashed})).start()
    assert await other.archive.notes("talk") == everything
    await settled(other, 4, 4)
    assert await other.archive.notes("talk") == everything, "all of it packaged"
    await other.stop()
    await other.start()
    assert await other.archive.notes("talk") == everything, "and again after another crash"
    await other.stop()
    lease.release(clean=True)
    await settled(house, 4)
    assert await house.archive.notes("talk") == []


async def test_a_recording_whose_copies_here_have_had_their_time_takes_late_ones(
    tmp_path: Path, packets: list[Packet]
) -> None:
    kept = ArchiveSettings(segment_s=2, keep_after_upload_s=0)
    house = await House(Settings(data_dir=tmp_path / "data", archive=kept)).start()
    sent = pieces(packets)
    keep(house, sent, 0, 3).release(clean=True)
    row = await settled(house, 2)
    folder = house.settings.data_dir / "spool" / "talk" / row.id
    async with asyncio.timeout(30):
        while folder.exists():
            await house.archive._sweep()
    assert await late(house, sent[1])
    row = await settled(house, 3)
    assert len(await check(house, row, [sent[number] for number in (0, 1, 3)])) == 1
    await house.stop()


@pytest.mark.parametrize("papers", ["new", "old", "none"])
async def test_a_catalog_is_rebuilt_with_the_late_segment_whatever_the_papers_say(
    house: House, packets: list[Packet], tmp_path: Path, papers: str
) -> None:
    sent = pieces(packets)
    keep(house, sent, 0, 3).release(clean=True)
    row = await settled(house, 2)
    saved = {path.name: path.read_bytes() for path in house.stored_folder(row).iterdir()}
    assert await late(house, sent[1])
    await settled(house, 3)
    await house.stop()
    archive = Archive(house.settings.data_dir, tmp_path / "rebuilt")
    for name in ("manifest.json", "index.m3u8"):
        if papers == "old":
            (archive.recording / name).write_bytes(saved[name])
        elif papers == "none":
            (archive.recording / name).unlink()
    [outcome] = await archive.rebuild(house.archive.signer.public)
    assert outcome.what == "rebuilt"
    was, now = await archive.was(), await archive.now()
    assert [item.seq for item in now[1]] == [item.seq for item in was[1]] == [0, 1, 3]
    ((gap,), (own,)) = now[2], was[2]
    assert (gap.start_ms, gap.length_ms) == (pytest.approx(own.start_ms, abs=50), pytest.approx(own.length_ms, abs=50))
    assert [item.discontinuity for item in now[1]] == [False, False, True]
