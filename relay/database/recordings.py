"""RecordingsRepo: what was recorded, segment by segment, gap by gap, and what of it is safe in the store."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from relay.database.channels import Run
from relay.database.schema import gaps, recordings, segments
from relay.errors import NotFoundError

_AT_ONCE = 500  # variables in one statement
_OWN = ("id", "channel", "state", "started_at", "ended_at", "base_ms", "ended_cleanly")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow:
    """One event in the archive. Times in unix seconds; ``base_ms``: the stream DTS its media time 0 stands for."""

    id: str
    channel: str
    state: str  # recording, complete or deleting
    started_at: float
    ended_at: float | None = None
    base_ms: int = 0
    ended_cleanly: bool = True  # by the publisher's goodbye; else whoever returns soon goes on with it
    # sums over segments and gaps, filled in when read
    duration_s: float = 0.0
    gap_s: float = 0.0
    bytes: int = 0
    segments: int = 0
    segments_stored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """One closed CMAF segment. ``start_ms``: media time since the recording's base; ``started_at``: unix seconds.

    ``notes``: what its packets came with, as JSON; empty where they came with nothing.
    """

    seq: int
    object_key: str
    init_key: str
    started_at: float
    start_ms: int
    duration_s: float
    bytes: int
    sha256: str
    stored: bool = False
    starts_with_keyframe: bool = True
    discontinuity: bool = False
    thumbnail: bool = False
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """Missing time in a recording, in ms of its media time."""

    start_ms: int
    length_ms: int
    reason: str


class RecordingsRepo:
    """Every operation is one transaction in the database's writer thread; all can be repeated without harm."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def create(self, row: RecordingRow) -> None:
        """Add a recording, or leave it as it is where its id exists."""
        values = {name: getattr(row, name) for name in _OWN}

        def work(connection: sa.Connection) -> None:
            found = connection.execute(sa.select(recordings.c.id).where(recordings.c.id == row.id)).first()
            if found is None:
                connection.execute(sa.insert(recordings).values(values))

        await self._run(work)

    async def restore(
        self, row: RecordingRow, parts: Sequence[SegmentRow], missing: Sequence[GapRow], *, replace: bool
    ) -> bool:
        """Add a recording with all its segments and gaps, or nothing of it; whether that was done.

        One that is known already is left as it is, or gives way with ``replace``.
        """
        values = {name: getattr(row, name) for name in _OWN}

        def work(connection: sa.Connection) -> bool:
            own = recordings.c.id == row.id
            if connection.execute(sa.select(recordings.c.id).where(own)).first() is not None:
                if not replace:
                    return False
                connection.execute(sa.delete(recordings).where(own))
            connection.execute(sa.insert(recordings).values(values))
            for table, rows in ((segments, parts), (gaps, missing)):
                if rows:
                    connection.execute(sa.insert(table), [{"recording": row.id, **asdict(item)} for item in rows])
            return True

        return await self._run(work)

    async def add_segment(self, recording: str, row: SegmentRow) -> None:
        """Add a segment, or replace the one with its number."""

        def work(connection: sa.Connection) -> None:
            at = (segments.c.recording == recording) & (segments.c.seq == row.seq)
            connection.execute(sa.delete(segments).where(at))
            connection.execute(sa.insert(segments).values(recording=recording, **asdict(row)))

        await self._run(work)

    async def put_between(
        self,
        recording: str,
        row: SegmentRow,
        gone: Sequence[int],
        left: Sequence[GapRow],
        after: int,
        *,
        discontinuity: bool,
    ) -> None:
        """Add a segment before that numbered ``after``, and what it makes of the gaps there, in one go.

        ``gone``: the starts in ms of gaps it was missing in, ``left``: what is left of them; ``discontinuity``: whether
        the one after it still breaks.
        """

        def work(connection: sa.Connection) -> None:
            own = segments.c.recording == recording
            for start_ms in {*gone, *(gap.start_ms for gap in left)}:
                connection.execute(
                    sa.delete(gaps).where((gaps.c.recording == recording) & (gaps.c.start_ms == start_ms))
                )
            for gap in left:
                connection.execute(sa.insert(gaps).values(recording=recording, **asdict(gap)))
            connection.execute(
                sa.update(segments).where(own & (segments.c.seq == after)).values(discontinuity=discontinuity)
            )
            connection.execute(sa.delete(segments).where(own & (segments.c.seq == row.seq)))
            connection.execute(sa.insert(segments).values(recording=recording, **asdict(row)))

        await self._run(work)

    async def mark_stored(self, recording: str, seq: int, stored: bool = True) -> None:
        """The segment is in the store, verified; or no longer."""
        at = (segments.c.recording == recording) & (segments.c.seq == seq)
        await self._run(lambda connection: connection.execute(sa.update(segments).where(at).values(stored=stored)))

    async def add_gap(self, recording: str, row: GapRow) -> None:
        """Write down missing time, once per start."""

        def work(connection: sa.Connection) -> None:
            at = (gaps.c.recording == recording) & (gaps.c.start_ms == row.start_ms)
            connection.execute(sa.delete(gaps).where(at))
            connection.execute(sa.insert(gaps).values(recording=recording, **asdict(row)))

        await self._run(work)

    async def set_state(
        self, recording: str, state: str, ended_at: float | None, *, ended_cleanly: bool = True
    ) -> None:
        """``complete`` at the end, ``recording`` again when it goes on, ``deleting`` when it shall go."""
        values = {"state": state, "ended_at": ended_at, "ended_cleanly": ended_cleanly}
        statement = sa.update(recordings).where(recordings.c.id == recording).values(values)
        await self._run(lambda connection: connection.execute(statement))

    async def reopen(self, ids: Sequence[str]) -> None:
        """Of these recordings, those said to be complete are not: there is more of them."""
        table = recordings.c

        def work(connection: sa.Connection) -> None:
            for start in range(0, len(ids), _AT_ONCE):
                where = sa.and_(table.id.in_(ids[start : start + _AT_ONCE]), table.state == "complete")
                connection.execute(sa.update(recordings).where(where).values(state="recording", ended_at=None))

        await self._run(work)

    async def get(self, recording: str) -> RecordingRow:
        """Raises NotFoundError."""
        found = await self._run(lambda connection: self._read(connection, recordings.c.id == recording, 1, 0))
        if not found:
            raise NotFoundError(f"there is no recording {recording}")
        return found[0]

    async def newest(self, channel: str | None = None, limit: int = 1000, offset: int = 0) -> list[RecordingRow]:
        """Newest first."""
        where = sa.true() if channel is None else recordings.c.channel == channel
        return await self._run(lambda connection: self._read(connection, where, limit, offset))

    async def running(self) -> Sequence[RecordingRow]:
        """Recordings not complete, oldest first."""
        rows = await self._run(
            lambda connection: self._read(connection, recordings.c.state != "complete", 1_000_000, 0)
        )
        return rows[::-1]

    async def lost(self, since: float) -> Sequence[RecordingRow]:
        """Recordings complete for now, whose publisher vanished after ``since`` (unix seconds); oldest first."""
        table = recordings.c
        where = sa.and_(table.state == "complete", sa.not_(table.ended_cleanly), table.ended_at > since)
        rows = await self._run(lambda connection: self._read(connection, where, 1_000_000, 0))
        return rows[::-1]

    async def segments(self, recording: str) -> Sequence[SegmentRow]:
        """In order."""
        statement = sa.select(segments).where(segments.c.recording == recording).order_by(segments.c.seq)

        def work(connection: sa.Connection) -> Sequence[SegmentRow]:
            return [SegmentRow(**_without(row, "recording")) for row in connection.execute(statement).mappings()]

        return await self._run(work)

    async def notes(self, recording: str, limit: int) -> Sequence[tuple[int, str]]:
        """(number, notes) of the last ``limit`` segments with notes, in order."""
        table = segments.c
        statement = sa.select(table.seq, table.notes).where((table.recording == recording) & (table.notes != ""))
        statement = statement.order_by(table.seq.desc()).limit(limit)

        def work(connection: sa.Connection) -> Sequence[tuple[int, str]]:
            return [(row.seq, row.notes) for row in connection.execute(statement)][::-1]

        return await self._run(work)

    async def gaps(self, recording: str) -> Sequence[GapRow]:
        """In order."""
        statement = sa.select(gaps).where(gaps.c.recording == recording).order_by(gaps.c.start_ms)

        def work(connection: sa.Connection) -> Sequence[GapRow]:
            return [GapRow(**_without(row, "recording")) for row in connection.execute(statement).mappings()]

        return await self._run(work)

    async def delete(self, recording: str) -> None:
        """Forget a recording, its segments and gaps."""
        await self._run(
            lambda connection: connection.execute(sa.delete(recordings).where(recordings.c.id == recording))
        )

    def _read(
        self, connection: sa.Connection, where: sa.ColumnElement[bool], limit: int, offset: int
    ) -> list[RecordingRow]:
        # The few rows wanted first: sums are made for these only, whatever the archive has grown to.
        wanted = (
            sa.select(recordings)
            .where(where)
            .order_by(recordings.c.started_at.desc(), recordings.c.id.desc())
            .limit(limit)
            .offset(offset)
            .subquery()
        )
        media = (
            sa.select(
                segments.c.recording,
                sa.func.sum(segments.c.duration_s).label("duration_s"),
                sa.func.sum(segments.c.bytes).label("bytes"),
                sa.func.count().label("segments"),
                sa.func.sum(sa.cast(segments.c.stored, sa.Integer)).label("segments_stored"),
            )
            .where(segments.c.recording.in_(sa.select(wanted.c.id)))
            .group_by(segments.c.recording)
            .subquery()
        )
        lost = (
            sa.select(gaps.c.recording, sa.func.sum(gaps.c.length_ms).label("gap_ms"))
            .where(gaps.c.recording.in_(sa.select(wanted.c.id)))
            .group_by(gaps.c.recording)
            .subquery()
        )
        statement = (
            sa.select(wanted, media, lost)
            .select_from(
                wanted.outerjoin(media, media.c.recording == wanted.c.id).outerjoin(
                    lost, lost.c.recording == wanted.c.id
                )
            )
            .order_by(wanted.c.started_at.desc(), wanted.c.id.desc())
        )
        return [_summed(row) for row in connection.execute(statement).mappings()]


def _summed(row: sa.RowMapping) -> RecordingRow:
    """A recording with its sums: 0 where there is nothing to sum, floats without their noise."""
    return RecordingRow(
        **{name: row[name] for name in _OWN},
        duration_s=round(float(row["duration_s"] or 0), 3),
        gap_s=round(float(row["gap_ms"] or 0) / 1000, 3),
        bytes=int(row["bytes"] or 0),
        segments=int(row["segments"] or 0),
        segments_stored=int(row["segments_stored"] or 0),
    )


def _without(row: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
