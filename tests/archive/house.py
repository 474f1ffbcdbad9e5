"""A whole archive with its database and hub, to be stopped, crashed and started again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from relay.archive.archive import Archive
from relay.config import ArchiveSettings, Settings
from relay.database import Database, RecordingRow
from relay.hub import Hub
from relay.media import Packet
from tests.archive.media import publish, shifted
from tests.support.recording import Recording, read_folder


class House:
    """An archive with its database and hub; ``restart`` is what a crash or a stop leaves the next run with."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def start(self) -> "House":
        self.database = Database(self.settings)
        self.hub = Hub(hold_s=60)
        self.archive = Archive(self.settings, self.database.recordings, self.hub)
        await self.archive.start()
        self.archive.work()
        return self

    async def stop(self) -> None:
        await self.archive.close()
        self.database.close()

    async def finished(self, channel: str = "talk") -> RecordingRow:
        """The channel's newest recording, once it is complete, stored, and its playlist says so."""
        async with asyncio.timeout(40):
            while True:
                rows = await self.database.recordings.newest(channel)
                if rows and rows[0].state == "complete" and rows[0].segments == rows[0].segments_stored:
                    recording = self.archive._recordings.get(rows[0].id)
                    if recording is None or not recording.is_busy:  # papers follow what the catalog says
                        break
                await asyncio.sleep(0.02)
            # The catalog knows of the last segment before the papers do.
            while True:
                assert await self.archive._uploader.drain(40)
                await self.archive._papers.done()
                known = self.archive._recordings.get(rows[0].id)
                if not self.archive._uploader.waiting and (known is None or not known.is_busy):
                    return rows[0]
                await asyncio.sleep(0.02)

    async def rows(self) -> list[RecordingRow]:
        """The catalog's recordings, read with the archive stopped."""
        database = Database(self.settings)
        rows = await database.recordings.newest()
        database.close()
        return rows

    def stored_folder(self, row: RecordingRow) -> Path:
        return self.settings.data_dir / "archive" / row.channel / row.id

    def stored(self, row: RecordingRow) -> Recording:
        return read_folder(self.stored_folder(row))


async def record(data_dir: Path, packets: Sequence[Packet]) -> RecordingRow:
    """One finished recording in a new data directory: ``packets``, a gap of 3 s, ``packets`` again."""
    house = await House(Settings(data_dir=data_dir, archive=ArchiveSettings(segment_s=2))).start()
    lease, _ = publish(house.hub, "talk", packets)
    lease.write(shifted(packets, packets[-1].dts_ms + 3000))
    lease.release(clean=True)
    row = await house.finished()
    await house.stop()
    return row
