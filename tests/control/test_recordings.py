"""Recordings through the operations: gaps, thumbnails, links and their end."""

import asyncio
from pathlib import Path

import pytest

from relay.control.models import ArchiveOptions, ChannelChange, Document, NewChannel
from relay.errors import ConflictError, NotFoundError
from relay.media import Packet
from tests.archive.media import batches, publish, shifted
from tests.support.app import browsing, running_app


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    from tests.archive.conftest import CLIP
    from tests.archive.media import read_packets
    from tests.support import clips

    return read_packets(clips.make(CLIP))


async def test_a_recording_is_listed_linked_and_deleted(tmp_path: Path, packets: list[Packet]) -> None:
    async with running_app(tmp_path, archive={"segment_s": 2}) as app, browsing(app) as browser:
        lease, _ = publish(app.hub, "demo", packets)
        for batch in batches(shifted(packets, packets[-1].dts_ms + 3000)):
            lease.write(batch)
        running = app.archive.recording_of("demo") if app.archive is not None else None
        assert running is not None
        async with asyncio.timeout(20):
            while True:
                if any(row.segments >= 4 for row in await app.control.recordings.list("demo")):
                    break
                await asyncio.sleep(0.05)
        with pytest.raises(ConflictError):
            await app.control.recordings.delete(running)
        lease.release(clean=True)
        async with asyncio.timeout(20):
            while True:
                found = await app.control.recordings.get(running)
                if found.state == "complete" and found.segments_stored == found.segments:
                    break
                await asyncio.sleep(0.05)
        (gap,) = (await app.control.recordings.gaps(running)).gaps
        assert gap.length_s == pytest.approx(3.0, abs=0.1)
        assert gap.start_s == pytest.approx(8.0, abs=0.1)
        assert gap.reason == "dropped by the encoder"
        (picture,) = (await app.control.recordings.thumbnails(running)).thumbnails
        status, _, response = await browser.ask("GET", picture.url)
        assert (status, response.content_type) == (200, "image/jpeg")
        assert (response.content_length or 0) > 4000
        status, link, _ = await browser.ask("POST", f"/api/v1/recordings/{running}/link")
        assert status == 200
        address = link["playlist_url"].removeprefix(browser.base)
        assert (await browser.ask("GET", address, token=""))[0] == 200
        assert (await browser.ask("GET", address[:-1], token=""))[0] == 401
        assert (await browser.ask("DELETE", address.replace("/index.m3u8", ""), token=""))[0] == 401
        assert (await browser.ask("DELETE", f"/api/v1/recordings/{running}"))[0] == 204
        async with asyncio.timeout(20):
            while True:
                if not await app.control.recordings.list("demo"):
                    break
                await asyncio.sleep(0.05)
        with pytest.raises(NotFoundError):
            await app.control.recordings.gaps("../etc/passwd")


async def test_archive_options_reach_the_archive_and_stay(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        await app.control.create_channel(NewChannel(name="rally", archive=ArchiveOptions(priority=3, keep_days=30)))
        assert app.archive is not None
        policy = app.archive._policies["rally"]
        assert (policy.priority, policy.keep_days, policy.keep_bytes) == (3, 30, None)
        view = await app.control.change_channel("rally", ChannelChange(archive=ArchiveOptions(keep_gb=1.5)))
        assert (view.archive.priority, view.archive.keep_gb) == (0, 1.5)
        assert app.archive._policies["rally"].keep_bytes == 1_500_000_000
        document = Document(channels=[NewChannel(name="rally", archive=ArchiveOptions(priority=9))])
        assert (await app.control.apply(document)).changes == ["channel rally: archive options changed"]
        assert (await app.control.apply(document)).changes == []
        assert (await app.control.apply(Document(channels=[NewChannel(name="rally")]))).changes == []
    async with running_app(tmp_path) as app:
        assert app.control.channel("rally").archive.priority == 9
        await app.control.delete_channel("rally")
        assert app.archive is not None
        assert set(app.archive._policies) == {"demo"}
