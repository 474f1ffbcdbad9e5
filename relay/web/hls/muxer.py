"""Muxer: reads one live stream and cuts it into segments and parts, and wakes those who wait for the next one."""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable

import structlog

from relay.archive.library import Place
from relay.hub import Batch, Stream
from relay.hub.batch import Tracks
from relay.media import Packet
from relay.web.hls.cut import Epoch, Segment

log = structlog.get_logger("relay.web.hls")

SEGMENT_MS = 1900  # a segment ends at the first keyframe after so much of it: with one every 2 s, there
LONGEST_MS = 6000  # and without any, here
PART_MS = 400
STEPS = 12
PART_SLACK = 1.1  # how much longer than usual a part may be: frames do not come on the millisecond
STARVED_MS = 500  # sound so far ahead of the picture, and
STARVED_PACKETS = 20  # so many of it without one in between: it cuts the parts alone
HOLE_MS = 1000  # less is a frame shown longer
GAP_MS = 100
RETRY_S = 1.0
PATIENCE_S = 0.5  # how often those who wait are looked after
LEAST_TARGETS = 4  # target durations that are always in the playlist; three must be (§6.2.2), at any moment
LEAD_MS = 10_000  # media time of the first packet: what comes late before it is not before 0


class Muxer:
    """A reader of ``stream`` from when it goes live until it ends: one event's live playlist.

    Times are whole ms of the stream's own. ``segments`` are closed, oldest first, ``open`` is the one being cut.
    The media sequence begins at the seconds of the clock, so that it goes on growing after a restart, and no address is
    ever used again. The discontinuity sequence begins at another number each time, too, but a small one: hls.js keeps
    an array as long as that.
    """

    def __init__(
        self,
        stream: Stream,
        place: Callable[[], Place | None],
        *,
        window_s: float,
        keep_s: float,
        memory_bytes: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.stream = stream
        self.segments: deque[Segment] = deque()
        self.open: Segment | None = None
        self.first_listed = 0  # number of the first segment in the playlist
        self.first_epoch = 0  # discontinuity sequence of that
        self.target_s = 0  # 0: not known yet, and there is no playlist
        self.part_target_ms = 0
        self.is_over = False
        self.version = 0
        self.kept_bytes = 0
        self._place = place
        self._window_ms = round(window_s * 1000)
        self._keep_ms = round(keep_s * 1000)
        self._memory_bytes = memory_bytes
        self._now = now
        started = int(now())
        self.run = f"{started:x}-{os.urandom(3).hex()}"
        self._number = started
        self._epochs = started // 5 % 1000
        self._base_ms: int | None = None
        self._wall_s = 0.0  # unix seconds at which media time 0 passed
        self._epoch: Epoch | None = None
        self._tracks: Tracks = (None, None)
        self._pending: list[Packet] = []
        self._part_ms = 0  # where the part being cut begins
        self._clock_ms = 0  # DTS of the last packet of the track that cuts, and which one that is
        self._clock_is_video = False
        self._last_ms = 0  # of any track
        self._step_ms = 0.0  # from frame to frame: the mean of the last few, but for those out of the way
        self._usual_ms: float = PART_MS  # how long a part is: as many frames as fit into PART_MS
        self._steps: deque[int] = deque(maxlen=STEPS)
        self._alone = 0  # packets of sound since the last picture
        self._starved = False
        self._breaks = False
        self._waiters: list[tuple[float, asyncio.Future[None]]] = []  # until when (loop time), whom to wake
        self._patience: asyncio.TimerHandle | None = None
        stream.subscribe(self)

    # --- from the stream ------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        version = self.version
        for packet in batch.packets:
            self._add(packet, batch)
        if self.version != version:
            self._wake()

    def ended(self, error: Exception | None) -> None:
        """The stream is over; or something here went wrong: go on with a new epoch, and say so."""
        if error is None:
            self.finish()
            return
        log.error("live playback failed, going on", channel=self.stream.name, error=repr(error))
        self._breaks = True
        asyncio.get_running_loop().call_later(RETRY_S, self._read_again)

    def _read_again(self) -> None:
        if not self.is_over:
            self.stream.subscribe(self)

    def resumed(self) -> None:
        """Media is back, from another connection or after a stall: a new epoch begins."""
        self._breaks = True

    def holding(self) -> None:
        """No media for now: show all there is."""
        if self._pending:
            self._end_part(self._end_ms())
            self._wake()

    def finish(self) -> None:
        """The stream is over, and so is the playlist."""
        if self.is_over:
            return
        if self.open is not None:
            self._end_segment(self._end_ms())
            self.open = None
        self.is_over = True
        self.version += 1
        self._wake()

    # --- cutting --------------------------------------------------------------------------------------------------

    def _add(self, packet: Packet, batch: Batch) -> None:
        track, dts_ms, _, _, _ = packet
        epoch = self._epoch
        video, audio = self._tracks
        is_video = track is video
        if epoch is None or self._breaks or not (is_video or track is audio):
            is_video = packet.is_video
            epoch = self._enter(packet, batch)
            video = self._tracks[0]
        if is_video:
            self._alone = 0
            self._starved = False
        else:
            self._alone += 1
            if self._alone > STARVED_PACKETS and dts_ms - self._clock_ms > STARVED_MS:
                self._starved = True
        if is_video or self._starved or video is None:
            step_ms = dts_ms - self._clock_ms
            if step_ms > HOLE_MS and step_ms > 3 * self._step_ms and dts_ms - self._last_ms > HOLE_MS // 2:
                epoch = self._begin(packet)
            elif self._pending and dts_ms > self._part_ms:
                self._cut(packet, dts_ms)
            if 0 < step_ms <= HOLE_MS and is_video == self._clock_is_video:
                self._note_step(step_ms)
            self._clock_ms, self._clock_is_video = dts_ms, is_video
        if dts_ms > self._last_ms:
            self._last_ms = dts_ms
        if not epoch.is_sampled:
            epoch.sample(packet)
        self._pending.append(packet)

    def _note_step(self, step_ms: int) -> None:
        steps = self._steps
        is_as_before = len(steps) == STEPS and steps[0] == step_ms  # the one that it takes the place of
        steps.append(step_ms)
        if not is_as_before:
            middle = sorted(steps)[len(steps) // 4 : -(len(steps) // 4) or None]
            self._step_ms = mean_ms = sum(middle) / len(middle)
            self._usual_ms = max(1, math.floor(PART_MS / mean_ms + 0.05)) * mean_ms

    def _enter(self, packet: Packet, batch: Batch) -> Epoch:
        """A packet that may not go on in the present epoch: the epoch it belongs to."""
        epoch = self._epoch
        if epoch is None or self._breaks:
            self._tracks = batch.closing
            self._follow(packet)
            return self._begin(packet)
        before = epoch.tracks[0 if packet.is_video else 1]
        self._follow(packet)
        if before == packet.track:
            return epoch
        if before is None and not epoch.is_settled:
            epoch.tracks = self._tracks  # it came a little later than the other
            return epoch
        return self._begin(packet)

    def _follow(self, packet: Packet) -> None:
        video, audio = self._tracks
        self._tracks = (packet.track, audio) if packet.is_video else (video, packet.track)

    def _begin(self, packet: Packet) -> Epoch:
        """A new epoch, which begins with ``packet``.

        What is missing before it shows in the dates alone: with entries for it (EXT-X-GAP), players would wait at its
        beginning, and hls.js for many seconds.
        """
        start_ms = packet.dts_ms
        if self._base_ms is None:
            self._base_ms = start_ms - LEAD_MS
        if self.open is not None:
            end_ms = self._end_ms() if self._breaks or self._is_hole(start_ms) else max(start_ms, self._part_ms)
            self._end_segment(end_ms)
            start_ms = max(start_ms, end_ms)
            self.open = None
        self._breaks = False
        place = self._place()
        if place is not None:
            self._wall_s = place.started_at - place.base_ms / 1000
        elif not self._wall_s:
            self._wall_s = self._now() - start_ms / 1000
        epoch = self._epoch = Epoch(self._epochs, self._tracks, self._base_ms, self._wall_s, place)
        self._epochs += 1
        self._open(start_ms, breaks=bool(self.segments))
        self._clock_ms = self._last_ms = packet.dts_ms
        self._clock_is_video = packet.is_video
        return epoch

    def _is_hole(self, start_ms: int) -> bool:
        return start_ms - self._last_ms > max(GAP_MS, 3 * self._step_ms)

    def _end_ms(self) -> int:
        """Where what is pending ends, when nobody knows what follows."""
        return max(self._clock_ms + round(self._step_ms or 33), self._part_ms)

    def _open(self, start_ms: int, *, breaks: bool = False) -> None:
        assert self._epoch is not None
        self.open = Segment(self._number, self._epoch, start_ms, breaks=breaks)
        self._number += 1
        self._part_ms = start_ms

    def _cut(self, packet: Packet, dts_ms: int) -> None:
        """End a part, or a segment, before ``packet``, where one is due."""
        assert self.open is not None
        age_ms = dts_ms - self.open.start_ms
        step_ms = self._step_ms
        longest_ms = self.target_s * 1000 + 400 if self.target_s else LONGEST_MS
        startable = packet.is_keyframe and (packet.is_video or self._tracks[0] is None)
        if (startable and age_ms >= SEGMENT_MS) or age_ms + step_ms > longest_ms:
            self._end_segment(dts_ms)
            self._open(dts_ms)
        else:
            length_ms = dts_ms - self._part_ms
            if length_ms >= self._usual_ms - step_ms / 2:
                self._end_part(dts_ms)

    def _end_part(self, end_ms: int) -> None:
        assert self.open is not None
        if self._pending:
            end_ms = max(end_ms, self._part_ms + 1)
            part = self.open.add(self._pending, self._part_ms, end_ms)
            self.kept_bytes += part.size
            self._pending = []
            self._part_ms = end_ms
            self.version += 1

    def _end_segment(self, end_ms: int) -> None:
        self._end_part(end_ms)
        segment = self.open
        assert segment is not None
        if not segment.parts:
            self._number = segment.number  # it was never told of
            return
        if not self.target_s:
            self._settle(segment)
        if segment.epoch.place is None:
            segment.epoch.place = self._place()
        self.segments.append(segment)
        self._forget()

    def _settle(self, first: Segment) -> None:
        """The first segment is whole: how long segments and parts of this stream are is known, and stays so."""
        self.target_s = max(3, math.floor(first.duration_ms / 1000 + 0.5) + 1)
        longest_ms = max((part.duration_ms for part in first.parts), default=0)
        self.part_target_ms = math.ceil(max(longest_ms, self._usual_ms * PART_SLACK) / 10) * 10
        self.first_listed, self.first_epoch = first.number, first.epoch.number

    # --- forgetting -----------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Take from the playlist what is older than the window, from memory what the archive has by now.

        What has left the playlist can still be loaded for as long as it was in it (§6.2.2).
        """
        least_ms = LEAST_TARGETS * 1000 * self.target_s
        age_ms = listed_bytes = kept_bytes = 0
        first, gone = self.segments[-1], 0
        for segment in reversed(self.segments):
            in_archive = segment.epoch.place is not None
            if segment.is_kept:
                kept_bytes += segment.size
                is_stale = kept_bytes > self._memory_bytes or (in_archive and age_ms > self._keep_ms)
                if is_stale and age_ms > least_ms:
                    segment.forget()
                    self.kept_bytes -= segment.size
            if segment.number >= self.first_listed and first.number == segment.number + 1:
                listed_bytes += 0 if in_archive else segment.size
                fits = age_ms + segment.duration_ms <= self._window_ms and (in_archive or segment.is_kept)
                if age_ms < least_ms or (fits and listed_bytes * 3 <= self._memory_bytes * 2):
                    first = segment
            age_ms += segment.duration_ms
            gone += age_ms > 2 * self._window_ms and segment.number < first.number
        self.first_listed, self.first_epoch = first.number, first.epoch.number - first.breaks
        for _ in range(gone):
            segment = self.segments.popleft()
            self.kept_bytes -= segment.size if segment.is_kept else 0

    # --- for those who watch --------------------------------------------------------------------------------------

    def find(self, number: int) -> Segment | None:
        """The segment of that media sequence number, closed or open."""
        if self.open is not None and self.open.number == number:
            return self.open
        if not self.segments:
            return None
        index = number - self.segments[0].number
        return self.segments[index] if 0 <= index < len(self.segments) else None

    @property
    def last_closed(self) -> int:
        """The number of the last segment that is closed."""
        return self.segments[-1].number if self.segments else self.first_listed - 1

    @property
    def is_flowing(self) -> bool:
        """Whether the part being cut has something in it: it will come, under its number."""
        return bool(self._pending) and self.open is not None

    def has(self, number: int, part: int | None) -> bool:
        """Whether the playlist has come to that segment (None: the whole of it), or to that part of it or beyond."""
        if self.is_over:
            return True
        last = self.last_closed
        if part is not None and number == last and part >= len(self.segments[-1].cuts):
            number, part = number + 1, 0  # there is no such part: the next one is meant
        if number <= last:
            return True
        return part is not None and self.open is not None and self.open.number == number and part < len(self.open.parts)

    async def wait(self, number: int, part: int | None, within_s: float) -> bool:
        """Wait until ``has`` is true; False if that does not happen in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while not (self.target_s and self.has(number, part)) and not self.is_over:
            if loop.time() >= until:
                return False
            waiter = loop.create_future()
            self._waiters.append((until, waiter))
            if self._patience is None:
                self._patience = loop.call_later(PATIENCE_S, self._look)
            await waiter
        return True

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _look(self) -> None:
        """Wake those who have waited too long: one timer for all, where each would have its own."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._patience = loop.call_later(PATIENCE_S, self._look) if self._waiters else None
        late = [waiter for until, waiter in self._waiters if until <= now]
        self._waiters = [item for item in self._waiters if item[0] > now and not item[1].done()]
        for waiter in late:
            if not waiter.done():
                waiter.set_result(None)
