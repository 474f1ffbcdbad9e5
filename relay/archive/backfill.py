"""Backfill: a segment that came too late for the live path gets its place in the recording, between what is there."""

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relay.archive.lines import Lines
from relay.archive.notes import loaded
from relay.archive.recorder import EPOCH_MS, MISSING, Recorder, begins_ms
from relay.archive.recording import Recording, media_end_ms, span
from relay.archive.spool import CLOSED_SUFFIX, ClosedPart, PartInfo, commit_tag, note_tag, part_header, same_tracks
from relay.errors import SpoolError
from relay.files import make_directory, write_file
from relay.hub import Batch
from relay.hub.batch import Note
from relay.media import Packet
from relay.protocol.flv import encode_batch

LARGEST_BYTES = 20 * 1024 * 1024
OVERLAP_MS = 100  # what two segments may have in common: about a frame, and rounding
SETTLE_S = 10.0
LOOK_EVERY_S = 0.05


@dataclass(slots=True, eq=False)
class _Late:
    """A segment on its way: its packets, and the part that was open when it came."""

    recording: Recording
    batch: Batch
    base_ms: int
    opened: PartInfo | None
    done: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    part: ClosedPart | None = None


class Backfill:
    """Puts late segments into the spool as parts with numbers that were left free; the recording's line does the rest.

    All in the line's turn: what was closed before is packaged by then, and what comes later has higher numbers.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._waiting: set[_Late] = set()
        self._closed = False

    async def put(
        self, recording: Recording, recorder: Recorder | None, packets: Sequence[Packet], note: str = ""
    ) -> bool:
        """Whether the segment is durable in its place; False where there is none for it, and nothing was done.

        ``packets`` (in DTS order) are on the timeline of the stream ``recorder`` reads, or of the one that ran last.
        Raises SpoolError (disk, or the relay is stopping): it may be tried again.
        """
        base_ms = recording.base_ms
        if not recording.is_placed or not _is_whole(packets):
            return False
        await _settled(recording, recorder)
        if self._closed:
            raise SpoolError("the relay is stopping")
        if recording.is_gone or not recording.is_placed or recording.base_ms != base_ms:
            return False  # it was deleted, or another stream goes on with it
        batch = Batch(packets, (None, None), len(packets), note=note)
        late = _Late(recording, batch, base_ms, None if recorder is None else recorder.open_part)
        self._waiting.add(late)
        self._lines.add(recording, lambda: self._turn(late))
        if not recording.is_live:
            self._lines.add(recording, None)
        return await late.done

    def close(self) -> None:
        """Whoever waits still is told that it was not done."""
        self._closed = True
        for late in self._waiting:
            if not late.done.done():
                late.done.set_exception(SpoolError("the relay is stopping"))
        self._waiting.clear()

    # --- in the recording's line ----------------------------------------------------------------------------------

    async def _turn(self, late: _Late) -> None:
        if late.part is None:
            if late.done.done():  # nobody waits for it any more
                self._waiting.discard(late)
                return
            is_kept = False
            error: Exception | None = None
            try:
                is_kept = _is_known(late) or await self._write(late)
            except OSError as failure:
                error = SpoolError(f"a late segment could not be written: {failure.strerror or failure}")
            except Exception as failure:  # noqa: BLE001 - whoever waits is told; the line goes on
                error = failure
            self._waiting.discard(late)
            if not late.done.done():
                if error is not None:
                    late.done.set_exception(error)
                else:
                    late.done.set_result(is_kept)
            if late.part is None:
                return
        await self._lines.part(late.recording, late.part)

    async def _write(self, late: _Late) -> bool:
        """Whether it has a place, and is durable there. Raises OSError."""
        batch, recording = late.batch, late.recording
        start_ms, end_ms = span(batch.packets, begins_ms(batch))
        number = _place(late, start_ms - late.base_ms, end_ms - late.base_ms)
        if number is None or recording.is_gone:
            return False
        begin_ms = begins_ms(batch)
        info = PartInfo(
            recording=recording.id,
            channel=recording.channel,
            seq=number,
            base_ms=min(packet.dts_ms for packet in batch.packets),
            start_ms=begin_ms,
            recording_base_ms=late.base_ms,
            first_seq=1,
            started_at=recording.started_at + (begin_ms - late.base_ms) / 1000,
            recording_started_at=recording.started_at,
            gap=_reason(late, start_ms - late.base_ms, end_ms - late.base_ms),
            late=True,
        )
        path = recording.folder / f"{number:06d}{CLOSED_SUFFIX}"
        if not await self._lines.in_thread(_write_part, path, info, batch):
            return False
        late.part = ClosedPart(path, info, closed_at=time.time())
        return True


async def _settled(recording: Recording, recorder: Recorder | None) -> None:
    """Wait until what was closed is in line, and what is written to has a number. Raises SpoolError."""
    until = time.monotonic() + SETTLE_S
    while not recorder.is_settled if recorder is not None else recording.is_live:
        if time.monotonic() > until:
            raise SpoolError("the spool disk does not keep up")
        await asyncio.sleep(LOOK_EVERY_S)


def _is_whole(packets: Sequence[Packet]) -> bool:
    """Whether one part can hold it: not too much, and no track that changes."""
    if not packets or sum(len(packet.data) for packet in packets) > LARGEST_BYTES:
        return False
    times = [packet.dts_ms for packet in packets]
    tracks = {packet.is_video: packet.track for packet in reversed(packets)}
    return max(times) - min(times) < EPOCH_MS and all(
        same_tracks(packet.track, tracks[packet.is_video]) for packet in packets
    )


def _is_known(late: _Late) -> bool:
    """Whether the very same is there already: it was sent again, because nobody was told."""
    batch = late.batch
    first_ms, last_ms = batch.first_dts_ms - late.base_ms, batch.last_dts_ms - late.base_ms
    near = (row for row in late.recording.segments if row.start_ms < last_ms and media_end_ms(row) > first_ms)
    return bool(batch.note) and any(Note(batch.note, len(batch.packets)) in loaded(row.notes) for row in near)


def _place(late: _Late, start_ms: int, end_ms: int) -> int | None:
    """A free number for media from ``start_ms`` to ``end_ms`` of the recording's time; None where there is no place."""
    rows, opened = late.recording.segments, late.opened
    at = bisect_right(rows, start_ms, key=lambda row: row.start_ms)
    if not at:
        return None
    before = rows[at - 1]
    if at < len(rows):
        after_seq, after_ms = rows[at].seq, rows[at].start_ms
    elif opened is not None and opened.start_ms - opened.recording_base_ms > start_ms:
        after_seq, after_ms = opened.seq, opened.start_ms - opened.recording_base_ms
    else:
        return None
    first, last = before.seq + 1, after_seq - 1
    room_before, room_after = start_ms - media_end_ms(before), after_ms - end_ms
    if first > last or min(room_before, room_after, room_before + room_after) < -OVERLAP_MS:
        return None
    if room_before <= OVERLAP_MS:
        return first
    if room_after <= OVERLAP_MS:
        return last
    # In between: as many numbers on either side as there is time for others.
    return first + round((last - first) * room_before / (room_before + room_after))


def _reason(late: _Late, start_ms: int, end_ms: int) -> str:
    """Why media is missing where this belongs; what is missing still is so for the same reason."""
    for gap in late.recording.gaps.values():
        if gap.start_ms < end_ms and gap.start_ms + gap.length_ms > start_ms:
            return gap.reason
    return (late.opened.gap if late.opened is not None else "") or MISSING


def _write_part(path: Path, info: PartInfo, batch: Batch) -> bool:
    """Write a whole part, durably; False where its number is another's after all. Raises OSError."""
    make_directory(path.parent)
    if any(path.parent.glob(f"{info.seq:06d}.*")):
        return False
    packets = batch.packets
    opening = (
        next((packet.track for packet in packets if packet.is_video), None),
        next((packet.track for packet in packets if not packet.is_video), None),
    )
    run = part_header(info, opening)
    if batch.note:
        run += note_tag(Note(batch.note, len(packets)), packets[0].dts_ms - info.base_ms)
    run += encode_batch(packets, opening, info.base_ms)
    end_ms = batch.last_dts_ms - info.base_ms
    seal = commit_tag(run, offset=len(run), seq=len(packets), packets=len(packets), timestamp=end_ms)
    try:
        write_file(path, run + seal)
    except OSError:
        for left in (path, path.with_name(path.name + ".tmp")):
            with contextlib.suppress(OSError):
                left.unlink()
        raise
    return True
