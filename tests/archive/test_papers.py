"""Playlist and manifest in the store: at the end at once, before it now and then; lost ones are written again."""

import asyncio

import pytest

from relay.archive import papers as module
from relay.media import Packet
from tests.archive.house import House
from tests.archive.media import publish
from tests.archive.test_archive import until


async def test_both_are_there_at_the_end_and_come_back_when_lost(house: House, packets: list[Packet]) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    folder = house.stored_folder(row)
    assert (folder / "index.m3u8").read_text().endswith("#EXT-X-ENDLIST\n")
    assert row.id in (folder / "manifest.json").read_text()
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
    lease.release(clean=True)
    row = await house.finished()
    assert (folder / "index.m3u8").read_text().count("#EXTINF") == row.segments


async def test_one_that_waits_for_its_last_segments_has_its_playlist_renewed_seldom(
    house: House, packets: list[Packet]
) -> None:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    recording = house.archive._recordings[row.id]
    recording.stored.discard(0)
    recording.playlist.due = True
    recording.playlist.written_at -= module.PLAYLIST_EVERY_S + 1
    house.archive._papers.tick(recording)
    assert recording.playlist.due
    recording.playlist.written_at -= module.BACKLOG_EVERY_S
    house.archive._papers.tick(recording)
    assert not recording.playlist.due
    recording.stored.add(0)
