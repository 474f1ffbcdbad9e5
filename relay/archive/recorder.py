"""Recorder: reads one stream whole into spool parts, one part for each segment to come, and outlives a bad disk."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from relay.archive.committer import Chunk, Committer, OpenPart
from relay.archive.parts import RETRY_S, Parts
from relay.archive.spool import ClosedPart, PartInfo, note_tag, same_tracks
from relay.hub import BacklogLimit, Batch, Stream
from relay.hub.batch import Note, Tracks, follow
from relay.media import Packet
from relay.protocol.flv import encode_batch

WITHOUT_KEYFRAME_MS = 30_000
PART_BYTES = 32 * 1024 * 1024
WAITING_BYTES = 16 * 1024 * 1024
WAITING_PIECES_BYTES = 64 * 1024 * 1024  # where pieces of many seconds come at once, after one they waited for
HOLE_MS = 100
LONG_BATCH_MS = 400  # more than a tick holds: there may be a hole inside
LINK_LOST = "link lost"
STALLED = "stalled"
DROPPED = "dropped by the encoder"
MISSING = "segments missing"
DISK = "spool disk failed"
DISK_FULL = "spool disk nearly full"
LEAD_MS = 500  # sound may begin a piece that far ahead of the keyframe it belongs to
MOST_RESERVED = 1000  # numbers left free in one place, for what may come late
EPOCH_MS = 1 << 30  # how far a part may begin from the base of its tags, whose times have 32 bits
NO_LIMIT = BacklogLimit(max_ms=1 << 62, max_bytes=1 << 62)  # for a reader that never pauses

log = structlog.get_logger("relay.archive")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a recording that goes on has already: ``end_ms`` of media time, which passed at ``ended_at``."""

    started_at: float
    ended_at: float
    end_ms: int
    next_number: int


class Keeper(Protocol):
    """Who is told what becomes of a recording. Called on the loop."""

    def begun(self, recorder: "Recorder") -> None:
        """The first packet is here: ``started_at`` and ``base_ms`` are known."""

    def closed(self, part: ClosedPart) -> None:
        """A part is whole and named, or given up with what it holds."""

    def finished(self, recorder: "Recorder") -> None:
        """The stream is over and its last part closed."""


class Recorder:
    """A reader (``whole=True``) of ``stream`` that fills parts under ``folder``.

    A part ends at the first keyframe after ``segment_ms`` of media, at a hole in time, or where a track changes;
    what came with a note, only before or after it. A note goes to disk with its packets. Where the publisher says
    that pieces are missing, as many numbers are left free.
    When the disk fails, what is not committed waits in memory, up to ``WAITING_BYTES`` (of pieces with notes,
    ``WAITING_PIECES_BYTES``), and is tried again every ``RETRY_S``; what comes beyond that is dropped up to a keyframe.
    ``before``: the recording goes on after that. ``late``: the stream is running already, so nothing is taken before
    its next keyframe.
    """

    def __init__(
        self,
        stream: Stream,
        recording: str,
        folder: Path,
        committer: Committer,
        keeper: Keeper,
        *,
        segment_ms: int,
        now: Callable[[], float],
        before: Earlier | None = None,
        late: bool = False,
    ) -> None:
        self.stream = stream
        self.recording = recording
        self.started_at = 0.0
        self.base_ms = 0
        self.is_over = False
        self.is_paused = False
        self.packets = 0
        self.dropped_packets = 0
        self._keeper = keeper
        self._segment_ms = segment_ms
        self._now = now
        self._before = before
        self._parts = Parts(folder, committer, self, 0 if before is None else before.next_number, now)
        self._part_tracks: Tracks = (None, None)
        self._tracks: Tracks = (None, None)
        self._tags_base_ms = 0
        self._last_dts_ms: int | None = None
        self._step_ms = 0.0
        self._gap = ""  # why media may be missing before what comes next
        self._missing = 0  # pieces of the publisher's that did not come since the last part began
        self._publishers = stream.stats.publishers
        self._dropping = late
        self._dropped_ms: int | None = None  # DTS of the last packet dropped since anything was kept
        self._dropped_for = DISK

    # --- from the stream ------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """Append one batch to the open part; look closer only where a boundary may be."""
        part, last = self._parts.current, self._last_dts_ms
        video, audio = self._tracks
        self.packets += len(batch.packets)
        if (
            part is None
            or last is None
            or batch.closing[0] is not video
            or batch.closing[1] is not audio
            or self._gap
            or batch.note
            or batch.first_dts_ms - last > HOLE_MS
            or batch.last_dts_ms - last > LONG_BATCH_MS
            or self._may_end(part, batch)
            or part.pending_bytes > WAITING_BYTES
        ):
            self._take_slowly(batch)
            return
        self._part_tracks = self._tracks
        self._last_dts_ms = batch.last_dts_ms
        data = batch.shared(("flv", self._tags_base_ms), self._encoded)
        self._parts.append(
            part, Chunk(data, len(batch.packets), batch.seq, batch.first_dts_ms, batch.last_dts_ms, batch.opening)
        )

    def ended(self, error: Exception | None) -> None:
        """The stream is over; or something here went wrong: go on with a new part, and say so."""
        if error is None:
            self.finish()
            return
        log.error("recorder failed, going on", channel=self.stream.name, recording=self.recording, error=repr(error))
        self.stream.commit_lost()
        self._dropping = True
        self._parts.end(None)
        asyncio.get_running_loop().call_later(RETRY_S, self._read_again)

    def _read_again(self) -> None:
        if not self.is_over:
            self.stream.subscribe(self, NO_LIMIT, whole=True)

    def resumed(self) -> None:
        """Media is back: a hole before it is the link's doing, which broke the connection or only held it up."""
        publishers = self.stream.stats.publishers
        self._gap = STALLED if publishers == self._publishers else LINK_LOST
        self._publishers = publishers

    def finish(self) -> None:
        """The stream is over: close the last part. ``keeper.finished`` is called once all parts are closed."""
        if self.is_over:
            return
        self.is_over = True
        self._parts.end(None)
        self._finish_if_done()

    def pause(self) -> None:
        """Take nothing until ``resume``, for want of space. What comes meanwhile is a gap in the recording."""
        if self.is_paused:
            return
        self.is_paused = True
        self._dropped_for = DISK_FULL
        if not self._dropping:
            self._dropping = True
            self.stream.commit_lost()
            self._parts.end(None)

    def resume(self) -> None:
        """There is space again: go on at the next keyframe."""
        self.is_paused = False

    @property
    def next_number(self) -> int:
        """The number of the part to come. Settled once the recorder has finished."""
        return self._parts.next_number

    @property
    def is_settled(self) -> bool:
        """Whether all parts but the open one are closed, and that one has its number."""
        return self._parts.is_settled

    @property
    def open_part(self) -> PartInfo | None:
        """The part that takes what comes, where there is one."""
        return None if self._parts.current is None else self._parts.current.info

    @property
    def kept_until_ms(self) -> int | None:
        """Media time in ms of the last packet kept; None before the first."""
        return None if self._last_dts_ms is None else self._last_dts_ms - self.base_ms

    @property
    def dropped_until_ms(self) -> int | None:
        """Media time in ms of the last packet, where it was dropped and nothing was kept since; else None."""
        return None if self._dropped_ms is None or not self.started_at else self._dropped_ms - self.base_ms

    @property
    def dropped_for(self) -> str:
        """Why packets were dropped last, in a gap's words."""
        return self._dropped_for

    @property
    def disk_error(self) -> str:
        """Why the spool disk took nothing the last time; empty while it does."""
        return self._parts.disk_error

    def _may_end(self, part: OpenPart, batch: Batch) -> bool:
        if part.size > PART_BYTES:
            return True
        age_ms = batch.last_dts_ms - part.info.start_ms
        return age_ms >= self._segment_ms and (batch.start >= 0 or age_ms >= WITHOUT_KEYFRAME_MS)

    def _encoded(self, batch: Batch) -> bytes:
        return encode_batch(batch.packets, batch.opening, self._tags_base_ms)

    # --- boundaries -----------------------------------------------------------------------------------------------

    def _take_slowly(self, batch: Batch) -> None:
        """``batch`` packet by packet: what a part begins with ends the run before it."""
        seq = batch.seq - len(batch.packets)
        opening = batch.opening
        self._missing = min(MOST_RESERVED, self._missing + batch.missing)
        if not self.started_at:
            if self._dropping:
                if self.is_paused or batch.start < 0:
                    self.dropped_packets += len(batch.packets)
                    return
                self._dropping = False
                self.stream.commit_lost()  # what was published before this will never be on disk
                opening = batch.from_start().opening
                seq, batch = seq + batch.start, batch.from_start()
            self._start(batch)
        run: list[Packet] = []
        for index, packet in enumerate(batch.packets):
            ending = self._parts.current
            gap = self._gap_before(packet, batch, index)
            if gap is not None or self._dropping:
                self._put(ending, run, opening, seq, batch.note)
                opening = follow(opening, run)
                run = []
            seq += 1
            if gap is not None:
                start_ms = begins_ms(batch) if batch.note and not index else packet.dts_ms
                self._begin(packet, seq, opening, gap, start_ms)
            if self._dropping:
                self.dropped_packets += 1
                self._dropped_ms = packet.dts_ms
                opening = follow(opening, (packet,))
                continue
            run.append(packet)
            self._last_dts_ms = packet.dts_ms
            video, audio = self._part_tracks
            self._part_tracks = (packet.track, audio) if packet.is_video else (video, packet.track)
        self._put(self._parts.current, run, opening, seq, batch.note)
        self._tracks = batch.closing
        self._gap = ""

    def _put(self, part: OpenPart | None, packets: Sequence[Packet], opening: Tracks, seq: int, note: str) -> None:
        if packets and part is not None:
            data = encode_batch(packets, opening, self._tags_base_ms)
            if note:
                data = note_tag(Note(note, len(packets)), packets[0].dts_ms - self._tags_base_ms) + data
            self._parts.append(part, Chunk(data, len(packets), seq, packets[0].dts_ms, packets[-1].dts_ms, opening))

    def _gap_before(self, packet: Packet, batch: Batch, index: int) -> str | None:
        """None where ``packet`` goes on with the part; where it begins one, why media is missing before ("": none)."""
        has_video = batch.closing[0] is not None
        startable = packet.is_keyframe and (packet.is_video or not has_video)
        waiting = self._parts.waiting_bytes
        if self._dropping:
            if self.is_paused or not startable or waiting > WAITING_BYTES // 2:
                return None
            self._dropping = False
            self._dropped_ms = None
            # Also for a publisher that came meanwhile: an Acknowledgement counts from its first byte.
            self.stream.commit_lost()
            return self._dropped_for
        part, last = self._parts.current, self._last_dts_ms
        if part is None or last is None:
            return self._gap
        if packet.dts_ms - last > HOLE_MS + 3 * self._step(part, last):
            # Holes that repeat are the stream's own pace, which is learned within a few of them.
            self._step_ms = min(float(packet.dts_ms - last), 2 * self._step_ms + 40)
            return self._gap or (MISSING if self._missing else DROPPED)
        if waiting > (WAITING_PIECES_BYTES if batch.note else WAITING_BYTES):
            self._dropping = True
            self._dropped_for = DISK
            self.stream.commit_lost()
            self._parts.end(None)
            return None
        before = self._part_tracks[0 if packet.is_video else 1]
        if before is not None and not same_tracks(before, packet.track):
            return ""
        if batch.note:
            return "" if index == 0 and self._ends_before(part, batch) else None
        age_ms = packet.dts_ms - part.info.start_ms
        due = (age_ms >= self._segment_ms and startable) or age_ms >= WITHOUT_KEYFRAME_MS or part.size > PART_BYTES
        return "" if due else None

    def _ends_before(self, part: OpenPart, batch: Batch) -> bool:
        """Whether ``part`` ends before ``batch``, which is not cut: where that comes nearer to a segment's length."""
        start_ms = begins_ms(batch)
        age_ms = start_ms - part.info.start_ms
        due = age_ms + (batch.last_dts_ms - start_ms) / 2 + HOLE_MS >= self._segment_ms
        can_start = batch.start >= 0 and start_ms == batch.packets[batch.start].dts_ms
        return bool(self._missing) or (due and can_start) or age_ms >= WITHOUT_KEYFRAME_MS or part.size > PART_BYTES

    def _step(self, part: OpenPart, last_ms: int) -> float:
        """The mean distance of two packets, in ms: a stream this slow has no hole there."""
        if part.packets >= 10:
            self._step_ms = (last_ms - part.info.start_ms) / part.packets
        return self._step_ms

    # --- parts ----------------------------------------------------------------------------------------------------

    def _start(self, batch: Batch) -> None:
        """The first media: what the recording's times count from."""
        now = self._now()
        first_ms = min(packet.dts_ms for packet in batch.packets)
        before = self._before
        if before is None:
            self.started_at, self.base_ms = now, first_ms
        else:
            away_ms = max(1, round((now - before.ended_at) * 1000))
            self.started_at, self.base_ms = before.started_at, first_ms - before.end_ms - away_ms
            self._gap = LINK_LOST
        self._tags_base_ms = first_ms
        self._keeper.begun(self)

    def _begin(self, packet: Packet, seq: int, opening: Tracks, gap: str, start_ms: int) -> None:
        """End the part before; make one that begins at ``start_ms``, with ``packet``, the stream's number ``seq``."""
        if packet.dts_ms - self._tags_base_ms >= EPOCH_MS:
            self._tags_base_ms = packet.dts_ms
        self._parts.end(None if gap else start_ms)
        opening = (packet.track, opening[1]) if packet.is_video else (opening[0], packet.track)
        info = PartInfo(
            recording=self.recording,
            channel=self.stream.name,
            seq=-1,
            base_ms=self._tags_base_ms,
            start_ms=start_ms,
            recording_base_ms=self.base_ms,
            first_seq=seq,
            started_at=self.started_at + (start_ms - self.base_ms) / 1000,
            recording_started_at=self.started_at,
            gap=gap,
        )
        # Nothing can come before a recording's first part.
        is_first = self._last_dts_ms is None and self._before is None
        self._parts.open(info, opening, 0 if is_first else self._missing)
        self._missing = 0
        self._part_tracks = (None, None)
        self._gap = ""

    # --- from the parts -------------------------------------------------------------------------------------------

    def committed(self, seq: int) -> None:
        """On disk up to packet ``seq``: the publisher may know."""
        self.stream.commit(seq)

    def closed(self, part: ClosedPart) -> None:
        self._keeper.closed(part)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self.is_over and self._parts.all_closed:
            self._keeper.finished(self)


def begins_ms(batch: Batch) -> int:
    """The DTS at which a piece begins: that of its keyframe, which sound may come a little before; or of its first."""
    first_ms = batch.first_dts_ms
    key_ms = batch.packets[batch.start].dts_ms if batch.start > 0 else first_ms
    return key_ms if 0 <= key_ms - first_ms <= LEAD_MS else first_ms
