"""Recorder: reads one stream whole into spool parts, one part for each segment to come, and outlives a bad disk."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from relay.archive.committer import Chunk, Committer, OpenPart
from relay.archive.spool import PartInfo, same_tracks
from relay.hub import BacklogLimit, Batch, Stream
from relay.hub.batch import Tracks, follow
from relay.media import Packet
from relay.protocol.flv import encode_batch

WITHOUT_KEYFRAME_MS = 30_000
PART_BYTES = 32 * 1024 * 1024
WAITING_BYTES = 16 * 1024 * 1024
HOLE_MS = 100
RETRY_S = 2.0
LINK_LOST = "link lost"
NO_MEDIA = "no media from the encoder"
DISK = "spool disk failed"
EPOCH_MS = 1 << 30  # how far a part may begin from the base of its tags, whose times have 32 bits
NO_LIMIT = BacklogLimit(max_ms=1 << 62, max_bytes=1 << 62)  # for a reader that never pauses

log = structlog.get_logger("relay.archive")


@dataclass(frozen=True, slots=True)
class ClosedPart:
    """A part nothing more is written to.

    ``end_ms``: DTS of what follows it without a gap, None where that is not known. ``before_seq``: only packets
    numbered below it count, a later part holds the others.
    """

    path: Path
    info: PartInfo
    end_ms: int | None = None
    before_seq: int | None = None


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

    A part ends at the first keyframe after ``segment_ms`` of media, at a hole in time, or where a track changes.
    When the disk fails, what is not committed waits in memory, up to ``WAITING_BYTES``, and is tried again every
    ``RETRY_S``; what comes beyond that is dropped up to a keyframe. ``before``: the recording goes on after that.
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
    ) -> None:
        self.stream = stream
        self.recording = recording
        self.started_at = 0.0
        self.base_ms = 0
        self.is_over = False
        self.packets = 0
        self.dropped_packets = 0
        self.disk_error = ""
        self._folder = folder
        self._committer = committer
        self._keeper = keeper
        self._segment_ms = segment_ms
        self._now = now
        self._before = before
        self._next_number = 0 if before is None else before.next_number
        self._parts: list[OpenPart] = []  # not yet closed on disk, in order
        self._part: OpenPart | None = None  # the last of them, while it takes packets
        self._part_tracks: Tracks = (None, None)
        self._tracks: Tracks = (None, None)
        self._tags_base_ms = 0
        self._last_dts_ms: int | None = None
        self._step_ms = 0.0
        self._gap = ""
        self._dropping = False
        self._retry: asyncio.TimerHandle | None = None

    # --- from the stream ------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """Append one batch to the open part; look closer only where a boundary may be."""
        part, last = self._part, self._last_dts_ms
        video, audio = self._tracks
        self.packets += len(batch.packets)
        if (
            part is None
            or last is None
            or batch.closing[0] is not video
            or batch.closing[1] is not audio
            or batch.first_dts_ms - last > HOLE_MS
            or self._may_end(part, batch)
            or part.pending_bytes > WAITING_BYTES
        ):
            self._take_slowly(batch)
            return
        self._part_tracks = self._tracks
        self._last_dts_ms = batch.last_dts_ms
        data = batch.shared(("flv", self._tags_base_ms), self._encoded)
        self._append(
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
        self._end_part(None)
        asyncio.get_running_loop().call_later(RETRY_S, self._read_again)

    def _read_again(self) -> None:
        if not self.is_over:
            self.stream.subscribe(self, NO_LIMIT, whole=True)

    def resumed(self) -> None:
        """A publisher returned: a hole before its media is the link's doing."""
        self._gap = LINK_LOST

    def finish(self) -> None:
        """The stream is over: close the last part. ``keeper.finished`` is called once all parts are closed."""
        if self.is_over:
            return
        self.is_over = True
        self._end_part(None)
        if not self._parts:
            self._keeper.finished(self)

    @property
    def waiting_bytes(self) -> int:
        """Bytes in memory that are not on disk."""
        return sum(part.pending_bytes for part in self._parts)

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
        has_video = batch.closing[0] is not None
        seq = batch.seq - len(batch.packets)
        opening = batch.opening
        if not self.started_at:
            self._start(batch)
        run: list[Packet] = []
        for packet in batch.packets:
            ending = self._part
            gap = self._gap_before(packet, has_video)
            if gap is not None or self._dropping:
                self._put(ending, run, opening, seq)
                opening = follow(opening, run)
                run = []
            seq += 1
            if gap is not None:
                self._begin(packet, seq, opening, gap)
            if self._dropping:
                self.dropped_packets += 1
                opening = follow(opening, (packet,))
                continue
            run.append(packet)
            self._last_dts_ms = packet.dts_ms
            video, audio = self._part_tracks
            self._part_tracks = (packet.track, audio) if packet.is_video else (video, packet.track)
        self._put(self._part, run, opening, seq)
        self._tracks = batch.closing

    def _put(self, part: OpenPart | None, packets: Sequence[Packet], opening: Tracks, seq: int) -> None:
        if packets and part is not None:
            data = encode_batch(packets, opening, self._tags_base_ms)
            self._append(part, Chunk(data, len(packets), seq, packets[0].dts_ms, packets[-1].dts_ms, opening))

    def _gap_before(self, packet: Packet, has_video: bool) -> str | None:
        """None where ``packet`` goes on with the part; where it begins one, why media is missing before ("": none)."""
        startable = packet.is_keyframe and (packet.is_video or not has_video)
        waiting = self.waiting_bytes
        if self._dropping:
            if not startable or waiting > WAITING_BYTES // 2:
                return None
            self._dropping = False
            return DISK
        part, last = self._part, self._last_dts_ms
        if part is None or last is None:
            return self._gap
        if packet.dts_ms - last > HOLE_MS + 3 * self._step(part, last):
            # Holes that repeat are the stream's own pace, which is learned within a few of them.
            self._step_ms = min(float(packet.dts_ms - last), 2 * self._step_ms + 40)
            return self._gap or NO_MEDIA
        if waiting > WAITING_BYTES:
            self._dropping = True
            self.stream.commit_lost()
            self._end_part(None)
            return None
        before = self._part_tracks[0 if packet.is_video else 1]
        if before is not None and not same_tracks(before, packet.track):
            return ""
        age_ms = packet.dts_ms - part.info.start_ms
        due = (age_ms >= self._segment_ms and startable) or age_ms >= WITHOUT_KEYFRAME_MS or part.size > PART_BYTES
        return "" if due else None

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

    def _begin(self, packet: Packet, seq: int, opening: Tracks, gap: str) -> None:
        """End the part before and make one that begins with ``packet``, number ``seq`` of the stream."""
        dts_ms = packet.dts_ms
        if dts_ms - self._tags_base_ms >= EPOCH_MS:
            self._tags_base_ms = dts_ms
        self._end_part(None if gap else dts_ms)
        opening = (packet.track, opening[1]) if packet.is_video else (opening[0], packet.track)
        info = PartInfo(
            recording=self.recording,
            channel=self.stream.name,
            seq=-1,
            base_ms=self._tags_base_ms,
            start_ms=dts_ms,
            recording_base_ms=self.base_ms,
            first_seq=seq,
            started_at=self.started_at + (dts_ms - self.base_ms) / 1000,
            recording_started_at=self.started_at,
            gap=gap,
        )
        self._part = OpenPart(self._folder, info, opening, self)
        self._parts.append(self._part)
        self._part_tracks = (None, None)
        self._gap = ""

    def _end_part(self, end_ms: int | None) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if not part.packets:
            self._parts.remove(part)
            return
        part.closing = True
        part.end_ms = end_ms
        self._touch(part)

    def _append(self, part: OpenPart, chunk: Chunk) -> None:
        part.append(chunk)
        if not part.dirty:
            self._touch(part)

    def _touch(self, part: OpenPart) -> None:
        if not part.dirty and self._retry is None:
            self._committer.touch(part)

    # --- from the committer ---------------------------------------------------------------------------------------

    def number(self) -> int:
        """The next part's number. Called in the committer's thread, in the order of the parts."""
        number = self._next_number
        self._next_number = number + 1
        return number

    def committed(self, part: OpenPart, seq: int) -> None:
        """Part ``part`` is on disk up to packet ``seq``: the publisher may know."""
        self.disk_error = ""
        if seq:
            self.stream.commit(seq)
        if part.closed_path is not None:
            self._done(part, ClosedPart(part.closed_path, part.info, part.end_ms))

    def failed(self, part: OpenPart, chunks: list[Chunk], error: OSError) -> None:
        """Keep what is not on disk; go on in a new part where the file has something already."""
        self.disk_error = f"{error.strerror or error} ({part.folder})"
        log.error("spool part failed", channel=self.stream.name, recording=self.recording, error=str(error))
        if part.committed_length:
            self._replace(part, chunks + part.pending)
        else:
            part.put_back(chunks)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _replace(self, part: OpenPart, chunks: list[Chunk]) -> None:
        """What was committed of ``part`` stays as it is; ``chunks`` go to a part that follows it."""
        at = self._parts.index(part)
        if not chunks:
            if self._part is part:
                self._part = None
            self._done(part, ClosedPart(part.open_path, part.info, part.end_ms))
            return
        first = chunks[0]
        start_ms = first.first_dts_ms
        info = replace(
            part.info,
            seq=-1,
            start_ms=start_ms,
            first_seq=first.seq - first.packets + 1,
            started_at=self.started_at + (start_ms - self.base_ms) / 1000,
            gap="",
        )
        following = OpenPart(self._folder, info, first.opening, self)
        for chunk in chunks:
            following.append(chunk)
        following.closing, following.end_ms = part.closing, part.end_ms
        self._parts.insert(at + 1, following)
        if self._part is part:
            self._part = following
        self._done(part, ClosedPart(part.open_path, part.info, start_ms, first.seq - first.packets + 1))

    def _try_again(self) -> None:
        self._retry = None
        for part in self._parts:
            if part.pending or part.closing:
                self._touch(part)

    def _done(self, part: OpenPart, closed: ClosedPart) -> None:
        self._parts.remove(part)
        self._keeper.closed(closed)
        if self.is_over and not self._parts:
            self._keeper.finished(self)
