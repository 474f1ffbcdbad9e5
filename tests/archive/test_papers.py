"""Playlist and manifest in the store: at the end at once, before it now and then; lost ones are written again."""

import asyncio
import math

import pytest

from relay.archive import papers as module
from relay.archive import recording as recordings
from relay.archive.manifest import check, parse
from relay.archive.store import FileStore
from relay.archive.verify import verify
from relay.errors import MediaError
from relay.media import Packet
from tests.archive.house import House
from tests.archive.media import publish
from tests.archive.test_archive import until


async def test_both_are_there_at_the_end_and_come_back_when_lost(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    folder = house.stored_folder(row)
    assert (folder / "index.m3u8").read_text().endswith("#EXT-X-ENDLIST\n")
    assert verify(FileStore(folder), "", house.archive.signer.public).problems == []
    recording = house.archive._recordings[row.id]
    assert not await house.archive._papers.lost(recording)
    (folder / "manifest.json").unlink()
    assert await house.archive._papers.lost(recording)
    await until((folder / "manifest.json").exists)


async def test_a_running_recording_has_them_too(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLAYLIST_EVERY_S", 0.0)
    monkeypatch.setattr(house.archive._papers, "_manifest_every_s", 0.0)
    lease, _ = publish(house.hub, "talk", packets)
    running = house.archive.recording_of("talk")
    assert running is not None
    folder = house.settings.data_dir / "archive" / "talk" / running
    async with asyncio.timeout(20):
        while not (folder / "index.m3u8").exists() or not (folder / "manifest.json").exists():
            house.archive._papers.tick(house.archive._recordings[running])
            await asyncio.sleep(0.1)
    assert "#EXT-X-ENDLIST" not in (folder / "index.m3u8").read_text()
    found = parse((folder / "manifest.json").read_bytes())
    check(found, house.archive.signer.public)
    assert (found.is_final, found.row.state, found.row.ended_at) == (False, "recording", None)
    lease.release(clean=True)
    row = await house.finished()
    assert (folder / "index.m3u8").read_text().count("#EXTINF") == row.segments
    final = parse((folder / "manifest.json").read_bytes())
    assert (final.is_final, final.row.ended_at) == (True, pytest.approx(row.ended_at, abs=1e-5))
    assert final.segments[: len(found.segments)] == found.segments


async def test_a_recording_that_goes_on_is_no_longer_said_to_be_whole(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)
    house.hub.end("talk", clean=False)
    row = await house.finished()
    path = house.stored_folder(row) / "manifest.json"
    assert parse(path.read_bytes()).is_final
    lease, _ = publish(house.hub, "talk", packets)
    recording = house.archive._recordings[row.id]
    assert recording.is_live
    async with asyncio.timeout(20):
        while parse(path.read_bytes()).is_final:  # though the next one is due in an hour only
            house.archive._papers.tick(recording)
            await asyncio.sleep(0.1)
    lease.release(clean=True)
    await house.finished()
    assert verify(FileStore(path.parent), "", house.archive.signer.public).problems == []


async def test_what_is_kept_as_flv_is_in_the_manifest_without_an_init_segment(
    house: House, packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MediaError("a codec MP4 cannot hold")

    monkeypatch.setattr(recordings, "init_segment", refuse)
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    verdict = verify(FileStore(house.stored_folder(row)), "", house.archive.signer.public)
    assert verdict.problems == []
    assert verdict.manifest is not None
    assert verdict.manifest.inits == {}
    assert {segment.object_key[-8:] for segment in verdict.manifest.segments} == {".raw.flv"}


async def test_one_that_waits_for_its_last_segments_has_its_playlist_renewed_seldom(
    house: House, packets: list[Packet]
) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    recording = house.archive._recordings[row.id]
    recording.stored.discard(0)
    recording.listed = -1
    recording.playlist.due = True
    recording.playlist.written_at -= module.PLAYLIST_EVERY_S + 1
    house.archive._papers.tick(recording)
    assert recording.playlist.due
    recording.playlist.written_at -= module.BACKLOG_EVERY_S
    house.archive._papers.tick(recording)
    assert not recording.playlist.due
    recording.stored.add(0)


async def test_papers_never_name_less_than_they_did(house: House, packets: list[Packet]) -> None:
    """As while a segment between others is on its way to the store."""
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    recording = house.archive._recordings[row.id]
    was = {name: (house.stored_folder(row) / name).read_bytes() for name in ("index.m3u8", "manifest.json")}
    recording.stored.discard(1)
    for paper in (recording.playlist, recording.manifest):
        paper.due, paper.written_at = True, -math.inf
    house.archive._papers.tick(recording)
    await house.archive._papers.done()
    assert await house.archive._uploader.drain(30)
    assert {name: (house.stored_folder(row) / name).read_bytes() for name in was} == was
    assert (recording.playlist.due, recording.manifest.due) == (True, True)
    recording.stored.add(1)
    house.archive._papers.renew(recording)
    await house.finished()
    assert (house.stored_folder(row) / "index.m3u8").read_bytes() == was["index.m3u8"]
    assert (house.stored_folder(row) / "manifest.json").read_bytes() != was["manifest.json"], "signed again, later"
