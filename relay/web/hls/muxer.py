"""Muxer: reads one live stream and cuts it into segments and parts, and wakes those who wait for the next one."""

import asyncio
import math
import os
import time
from collections.abc import Callable
from itertools import pairwise

import structlog

from relay.archive.library import Place
from relay.hub import Batch, Stream
from relay.hub.batch import Tracks
from relay.media import Packet
from relay.web.hls.cut import Epoch, Segment
from relay.web.hls.step import STEPS, Steps
from relay.web.hls.window import Window

log = structlog.get_logger("relay.web.hls")

SEGMENT_MS = 1900  # a segment ends at the first keyframe after so much of it: with one every 2 s, there
LONGEST_MS = 6000  # and without any, here
PART_SLACK = 1.1  # how much longer than usual a part may be: frames do not come on the millisecond
STARVED_MS = 500  # sound so far ahead of the picture, and
STARVED_PACKETS = 20  # so many of it without one in between: it cuts the parts alone
HOLE_MS = 1000  # less is a frame shown longer
GAP_MS = 100
RETRY_S = 1.0
UNWATCHED_S = 60.0  # nobody watches whom nobody asked for a playlist for so long
PATIENCE_S = 0.5  # how often those who wait are looked after
LEAD_MS = 10_000  # media time of the first packet: what comes late before it is not before 0


class Muxer:
    """A reader of ``stream`` from when it goes live until it ends: one event's live playlist.

    Times are whole ms of the stream's own. ``segments`` are closed, oldest first, ``open`` is the one being cut.
    While nobody watches (``is_watched``), segments are one part each, packets are hardly looked at, and no more is
    kept in memory than the newest segment; who asks then finds the rest in the archive.
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
        self.window = Window(round(window_s * 1000), round(keep_s * 1000), memory_bytes)
        self.segments = self.window.segments
        self.open: Segment | None = None
        self.target_s = 0  # 0: not known yet, and there is no playlist
        self.part_target_ms = 0
        self.is_over = False
        self.version = 0
        self.is_watched = False
        self._asked_at = 0.0  # monotonic seconds
        self._put_by = 0  # how many of the pending packets, the last ones, were not looked at yet
        self._place = place
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
        self._steps = Steps()
        self._alone = 0  # packets of sound since the last picture
        self._starved = False
        self._breaks = False
        self._waiters: list[tuple[float, asyncio.Future[None]]] = []  # until when (loop time), whom to wake
        self._patience: asyncio.TimerHandle | None = None
        stream.subscribe(self)

    # --- from the stream ------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        if not self.is_watched and self._pending and self._is_plain(batch):
            self._pending += batch.packets
            self._put_by += len(batch.packets)
            self._last_ms = batch.last_dts_ms
            return
        version = self.version
        if self._put_by:
            self._catch_up()
        for packet in batch.packets:
            self._add(packet, batch)
        if self.version != version:
            self._wake()

    def _is_plain(self, batch: Batch) -> bool:
        """Whether nothing begins or ends with ``batch``: more of the same picture and sound, close behind the last."""
        epoch, segment = self._epoch, self.open
        if epoch is None or segment is None or self._breaks or not epoch.is_sampled:
            return False
        if batch.last_keyframe >= 0 or batch.last_video < 0 or not batch.opening == batch.closing == self._tracks:
            return False
        last_ms = batch.last_dts_ms
        longest_ms = self.target_s * 1000 if self.target_s else LONGEST_MS
        return last_ms - self._last_ms <= HOLE_MS // 2 and last_ms - segment.start_ms < longest_ms - HOLE_MS

    def _catch_up(self) -> None:
        """Look at the packets put by, as ``_add`` would have."""
        video = self._tracks[0]
        times = [packet[1] for packet in self._pending[-self._put_by :] if packet[0] is video]
        # Of the steps only the last few count.
        for before_ms, dts_ms in pairwise([self._clock_ms, *times][-STEPS - 1 :]):
            if 0 < dts_ms - before_ms <= HOLE_MS:
                self._steps.note(dts_ms - before_ms)
        self._clock_ms, self._clock_is_video = times[-1], True
        self._alone = self._put_by = 0
        self._starved = False

    def asked(self) -> None:
        """Somebody wants to watch: from now on there are parts, also of the newest segment and the one that is open."""
        self._asked_at = time.monotonic()
        if self.is_watched:
            return
        self.is_watched = True
        if self._put_by:
            self._catch_up()
        least_ms = self._steps.least_ms
        if self.segments and not self.segments[-1].is_cut_up:
            self.segments[-1].cut_up(least_ms)
        if self.open is not None and self._pending:
            before = self.open.size
            self._pending, self._part_ms = self.open.add_all(self._pending, self._part_ms, least_ms)
            self.window.kept_bytes += self.open.size - before
            self.version += 1

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
        if self._put_by:
            self._catch_up()
        if self._pending:
            self._end_part(self._end_ms())
            self._wake()

    def finish(self) -> None:
        """The stream is over, and so is the playlist."""
        if self.is_over:
            return
        if self._put_by:
            self._catch_up()
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
            if step_ms > HOLE_MS and step_ms > 3 * self._steps.mean_ms and dts_ms - self._last_ms > HOLE_MS // 2:
                epoch = self._begin(packet)
            elif self._pending and dts_ms > self._part_ms:
                self._cut(packet, dts_ms)
            if 0 < step_ms <= HOLE_MS and is_video == self._clock_is_video:
                self._steps.note(step_ms)
            self._clock_ms, self._clock_is_video = dts_ms, is_video
        if dts_ms > self._last_ms:
            self._last_ms = dts_ms
        if not epoch.is_sampled:
            epoch.sample(packet)
        self._pending.append(packet)

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
        return start_ms - self._last_ms > max(GAP_MS, 3 * self._steps.mean_ms)

    def _end_ms(self) -> int:
        """Where what is pending ends, when nobody knows what follows."""
        return max(self._clock_ms + round(self._steps.mean_ms or 33), self._part_ms)

    def _open(self, start_ms: int, *, breaks: bool = False) -> None:
        assert self._epoch is not None
        self.open = Segment(self._number, self._epoch, start_ms, breaks=breaks)
        self._number += 1
        self._part_ms = start_ms

    def _cut(self, packet: Packet, dts_ms: int) -> None:
        """End a part, or a segment, before ``packet``, where one is due."""
        assert self.open is not None
        age_ms = dts_ms - self.open.start_ms
        step_ms = self._steps.mean_ms
        longest_ms = self.target_s * 1000 + 400 if self.target_s else LONGEST_MS
        startable = packet.is_keyframe and (packet.is_video or self._tracks[0] is None)
        if (startable and age_ms >= SEGMENT_MS) or age_ms + step_ms > longest_ms:
            self._end_segment(dts_ms)
            self._open(dts_ms)
        elif self.is_watched and dts_ms - self._part_ms >= self._steps.least_ms:
            self._end_part(dts_ms)

    def _end_part(self, end_ms: int) -> None:
        assert self.open is not None
        if self._pending:
            end_ms = max(end_ms, self._part_ms + 1)
            part = self.open.add(self._pending, self._part_ms, end_ms)
            self.window.kept_bytes += part.size
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
        segment.is_cut_up = self.is_watched
        if self.is_watched and not self._waiters and time.monotonic() - self._asked_at > UNWATCHED_S:
            self.is_watched = False
        self.window.add(segment, self.target_s, is_watched=self.is_watched)

    def _settle(self, first: Segment) -> None:
        """The first segment is whole: how long segments and parts of this stream are is known, and stays so."""
        self.target_s = max(3, math.floor(first.duration_ms / 1000 + 0.5) + 1)
        longest_ms = max((part.duration_ms for part in first.parts), default=0) if self.is_watched else 0
        self.part_target_ms = math.ceil(max(longest_ms, self._steps.part_ms * PART_SLACK) / 10) * 10
        self.window.begin_with(first)

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
    def first_listed(self) -> int:
        """The number of the first segment in the playlist."""
        return self.window.first_listed

    @property
    def first_epoch(self) -> int:
        """The discontinuity sequence of the first segment in the playlist."""
        return self.window.first_epoch

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
