"""Recordings as the operator sees them: lists, gaps, thumbnails, and their end."""

import re

from relay.archive.archive import Archive
from relay.archive.ranges import iso
from relay.archive.recording import THUMBNAIL
from relay.control import models
from relay.control.fields import NAME
from relay.database import RecordingRow, RecordingsRepo
from relay.errors import NotFoundError


class Recordings:
    """What the catalog knows, as views of the API. Ids that cannot be are simply not there."""

    def __init__(self, catalog: RecordingsRepo, archive: Archive | None) -> None:
        self._catalog = catalog
        self._archive = archive

    async def list(self, channel: str | None = None, limit: int = 1000) -> list[models.RecordingView]:
        """Newest first."""
        if channel is not None and not re.fullmatch(NAME, channel):
            return []
        return [_view(row) for row in await self._catalog.newest(channel, limit)]

    async def get(self, recording: str) -> models.RecordingView:
        """Raises NotFoundError."""
        return _view(await self._row(recording))

    async def find(self, recording: str) -> models.RecordingView | None:
        """It, or None where there is none of that id."""
        try:
            return await self.get(recording)
        except NotFoundError:
            return None

    async def newest(self, channel: str) -> str:
        """The id of the channel's newest. Raises NotFoundError."""
        rows = await self._catalog.newest(channel, limit=1)
        if not rows:
            raise NotFoundError(f"nothing has been recorded on {channel} yet")
        return rows[0].id

    async def gaps(self, recording: str) -> models.GapList:
        """Every piece of missing time, in order. Raises NotFoundError."""
        row = await self._row(recording)
        return models.GapList(
            gaps=[
                models.GapView(
                    start_s=gap.start_ms / 1000,
                    started_at=iso(row.started_at + gap.start_ms / 1000),
                    length_s=gap.length_ms / 1000,
                    reason=gap.reason,
                )
                for gap in await self._catalog.gaps(row.id)
            ]
        )

    async def thumbnails(self, recording: str) -> models.ThumbnailList:
        """Every picture, in order. Raises NotFoundError."""
        row = await self._row(recording)
        return models.ThumbnailList(
            thumbnails=[
                models.ThumbnailView(
                    start_s=segment.start_ms / 1000,
                    started_at=iso(segment.started_at),
                    url=f"/api/v1/recordings/{row.id}/{THUMBNAIL.format(segment.seq)}",
                )
                for segment in await self._catalog.segments(row.id)
                if segment.thumbnail
            ]
        )

    async def delete(self, recording: str) -> None:
        """Delete it from spool, store and catalog. Raises NotFoundError, or ConflictError while it runs."""
        row = await self._row(recording)
        if self._archive is None:
            raise NotFoundError(
                "the archive is off (RELAY_ARCHIVE__STORE=off): start the relay with its store to delete"
            )
        await self._archive.delete(row.id)

    async def _row(self, recording: str) -> RecordingRow:
        if not re.fullmatch(r"[0-9A-Za-z-]{1,32}", recording):
            raise NotFoundError("there is no such recording; `relay recording list` shows those there are")
        return await self._catalog.get(recording)


def _view(row: RecordingRow) -> models.RecordingView:
    return models.RecordingView(
        id=row.id,
        channel=row.channel,
        state="complete" if row.state == "complete" else "deleting" if row.state == "deleting" else "recording",
        started_at=iso(row.started_at),
        ended_at=None if row.ended_at is None else iso(row.ended_at),
        duration_s=row.duration_s,
        gap_s=row.gap_s,
        bytes=row.bytes,
        segments=row.segments,
        segments_stored=row.segments_stored,
    )
