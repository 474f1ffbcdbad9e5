"""HeldStream: a stream as destinations get it: filler while the publisher, or one of its tracks, is away."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from relay.hub.batch import Batch
from relay.hub.filler import FrozenPicture, Loop, RunningLoop, RunningSilence
from relay.hub.stream import Stream
from relay.hub.subscription import BacklogLimit
from relay.hub.tick import Ticker
from relay.media import Packet
from relay.protocol.freeze import rejoining, self_contained
from relay.protocol.silence import SILENT_AAC

VIDEO_AWAY_MS = 3000  # the other track went on this long without it
AUDIO_AWAY_MS = 1000
KEYFRAME_WAIT_S = 3.0  # sound that came back alone this long ago goes on without the picture
CATCH_UP_S = 3.0  # media older than the filler sent already: after this long it is shown late rather than never
ALONE_MS = 1000  # a stream that begins with one track only for this long has no other
BEHIND_MS = 400  # filler stays this far behind the clock: what returns a little late is not before it
_NO_LIMIT = BacklogLimit(max_ms=1 << 62, max_bytes=1 << 62)
_VIDEO, _AUDIO = 0, 1


@dataclass(frozen=True, slots=True)
class Filling:
    """What is filled in. ``hold``: for a publisher or track that is away; ``sound``: where there never was any."""

    hold: bool = True
    sound: bool = False
    repeat_ms: int = 500


class HeldStream:
    """Reads ``source``; ``out`` has the same batches while all is well.

    While the publisher is away (``hold``) filler comes by the clock; while one track is away it comes at the pace of
    the other. After a filled-in picture the next real one is a keyframe. Every track's DTS only grows; both are moved
    by the same time, and only where what returns is older than filler already sent. ``clock``: monotonic seconds, as
    ``away_since`` tells when a publisher that is away now was last heard (None: it is there, or that is not known).
    """

    def __init__(
        self,
        source: Stream,
        filling: Filling,
        ticker: Ticker,
        clock: Callable[[], float] = time.monotonic,
        away_since: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.out = Stream(source.name)
        self.is_over = False
        self.is_held = False
        self.filler_packets = 0
        self._source = source
        self._filling = filling
        self._ticker = ticker
        self._clock = clock
        self._away_since = away_since
        self._picture = FrozenPicture()
        self._still: FrozenPicture | None = None  # a slate's, shown instead of the last keyframe
        self._loop: Loop | None = None  # a slate's, likewise
        self._running_loop: RunningLoop | None = None
        self._silence: RunningSilence | None = None
        self._last: list[int | None] = [None, None]  # by track: DTS of what was written last
        self._heard_ms = [0, 0]  # by track: the source's DTS when it was heard last
        self._is_away = [False, False]  # by track, while the other flows
        self._heard_at = clock()
        self._held_from_ms, self._held_at = 0, self._heard_at
        self._back_since: float | None = None
        self._is_parked = False
        self._shift_ms = 0
        self._beginning: list[Batch] | None = []  # until it is known which tracks there are
        self._subscription = source.subscribe(self, _NO_LIMIT)

    def close(self) -> None:
        """Leave the source; ``out`` is over for its readers."""
        self._subscription.close()
        self.ended(None)

    def show(self, slate: Loop) -> None:
        """From now on, ``slate`` instead of the last keyframe while the publisher is away: a clip, or one picture."""
        self._forget_slate()
        packets = [self_contained(packet) if packet.is_video else packet for packet in slate.packets]
        if slate.length_ms:
            self._loop = Loop(packets, slate.length_ms)
        else:
            self._still = FrozenPicture()
            self._still.keyframe = packets[0]

    def _forget_slate(self) -> None:
        self._loop = self._running_loop = self._still = None

    def hold(self) -> None:
        """The publisher is gone or stalled: fill in until it is back. A slate is of this hold only."""
        if self._beginning:
            self._begin()
        self._back_since = None
        times = [last for last in self._last if last is not None]
        if not self._filling.hold or self.is_held or not times:
            return
        self.is_held = True
        since = self._away_since()
        self._held_from_ms, self._held_at = max(times), self._heard_at if since is None else since
        self._forget_slate()
        if not self._is_parked:
            self._is_parked = True
            self._ticker.park(self._tick)

    # --- hub.Reader -----------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """One batch of the source: passed on as it is, or looked into where anything is amiss."""
        self._heard_at = self._clock()
        if self._beginning is None:
            self._take(batch)
            return
        self._beginning.append(batch)
        if self._knows_tracks(self._beginning):
            self._begin()

    def ended(self, error: Exception | None) -> None:
        """The source is over, or this failed: so is ``out``."""
        self.is_over = True
        self.is_held = False
        self._beginning = None
        self.out.end(error)

    # --- the beginning ------------------------------------------------------------------------------------------------

    def _knows_tracks(self, waiting: list[Batch]) -> bool:
        """Whether it is clear which tracks there are: one that comes late would be a change no platform likes."""
        if waiting[-1].last_dts_ms - waiting[0].first_dts_ms >= ALONE_MS:
            return True
        metadata = self._source.metadata
        names = ("videocodecid", "audiocodecid")
        return all(
            track is not None or (bool(metadata) and name not in metadata)
            for track, name in zip(waiting[-1].closing, names, strict=True)
        )

    def _begin(self) -> None:
        """Go on with what waited, from a keyframe where there is a picture."""
        waiting, self._beginning = self._beginning, None
        if not waiting:
            return
        packets = [packet for batch in waiting for packet in batch.packets]
        whole = Batch(packets, waiting[0].opening, waiting[-1].seq) if len(waiting) > 1 else waiting[0]
        if whole.start < 0:
            self._beginning = []  # a picture, and nothing it can be decoded from yet
            return
        self._is_away[_AUDIO] = self._filling.sound and whole.closing[_AUDIO] is None
        self._take(whole.from_start())
        if self._away_since() is not None:
            self.hold()

    # --- what comes -------------------------------------------------------------------------------------------------

    def _take(self, batch: Batch) -> None:
        self.out.metadata = self._source.metadata
        is_whole = self._hear(batch)
        if self.is_held or self._shift_ms or True in self._is_away or self._silence is not None or not is_whole:
            self._take_slowly(batch)
            return
        if batch.last_video >= 0:
            self._last[_VIDEO] = batch.packets[batch.last_video].dts_ms
        if batch.last_audio >= 0:
            self._last[_AUDIO] = batch.packets[batch.last_audio].dts_ms
        if batch.last_keyframe >= 0:
            self._picture.keyframe = batch.packets[batch.last_keyframe]
        self.out.pass_on(batch)

    def _hear(self, batch: Batch) -> bool:
        """Note which tracks are heard; whether none of them has been away for too long."""
        heard, now_ms = self._heard_ms, batch.last_dts_ms
        if batch.last_video >= 0:
            heard[_VIDEO] = now_ms
        if batch.last_audio >= 0:
            heard[_AUDIO] = now_ms
        if heard[_VIDEO] == heard[_AUDIO]:
            return True
        return not any(self._starves(track, now_ms) for track in (_VIDEO, _AUDIO))

    def _starves(self, track: int, now_ms: int) -> bool:
        limit_ms = VIDEO_AWAY_MS if track == _VIDEO else AUDIO_AWAY_MS
        return self._last[track] is not None and now_ms - self._heard_ms[track] > limit_ms

    def _take_slowly(self, batch: Batch) -> None:
        """Packet by packet: leave out what cannot be shown yet, fill in what is missing, move what is late."""
        out: list[Packet] = []
        for packet in batch.packets:
            track = _VIDEO if packet.is_video else _AUDIO
            is_back = False
            if self.is_held:
                if not self._ends_hold(packet, batch):
                    continue
                is_back = packet.is_video
            dts_ms = packet.dts_ms + self._shift_ms
            last_ms = self._last[track]
            if last_ms is not None and dts_ms <= last_ms:
                continue  # filler took its place
            if self._is_away[track]:
                if track == _VIDEO and not packet.is_keyframe:
                    continue
                self._is_away[track] = False
                is_back = track == _VIDEO
            if track == _AUDIO and self._silence is not None:
                self._fill(out, self._silence.before(dts_ms))
                self._silence = None
            if track == _VIDEO and packet.is_keyframe:
                self._picture.keyframe = packet
            if is_back:
                packet = rejoining(packet)
                if packet.track != self.out.tracks[_VIDEO]:
                    packet = self_contained(packet)
            moved = packet._replace(dts_ms=dts_ms, pts_ms=packet.pts_ms + self._shift_ms)
            self._add(out, [moved if self._shift_ms else packet])
        if not self.is_held:
            now_ms = batch.last_dts_ms + self._shift_ms
            if self._filling.hold:
                for track in (_VIDEO, _AUDIO):
                    self._is_away[track] = self._is_away[track] or self._starves(track, batch.last_dts_ms)
            if self._is_away[_VIDEO]:
                self._fill_picture(out, now_ms)
            if self._is_away[_AUDIO]:
                self._fill_sound(out, now_ms)
        self._write(out)

    def _ends_hold(self, packet: Packet, batch: Batch) -> bool:
        """Whether the stream goes on with ``packet``: a keyframe, or the sound of a stream without a picture."""
        if self._away_since() is not None:
            return False  # the tail of what a transcoder was still at
        if self._back_since is None:
            self._back_since = self._heard_at
        back_s = self._heard_at - self._back_since
        if packet.is_video:
            if not packet.is_keyframe:
                return False
        elif self._last[_VIDEO] is not None and back_s < KEYFRAME_WAIT_S:
            return False
        newest_ms = max(last for last in self._last if last is not None)
        if packet.dts_ms + self._shift_ms <= newest_ms:
            if back_s < CATCH_UP_S:
                return False
            self._shift_ms = newest_ms + 1 - packet.dts_ms
        self.is_held = False
        self._heard_ms = [batch.last_dts_ms, batch.last_dts_ms]
        self._is_away[_VIDEO] = not packet.is_video and self._last[_VIDEO] is not None
        return True

    # --- what is filled in ------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._is_parked = self.is_held
        if not self.is_held:
            return
        self._ticker.park(self._tick)
        until_ms = self._held_from_ms + round((self._clock() - self._held_at) * 1000) - BEHIND_MS
        out: list[Packet] = []
        loop = self._loop
        if loop is not None and self._last[_VIDEO] is not None:
            if self._running_loop is None:
                newest_ms = max(last for last in self._last if last is not None)
                start_ms = max(newest_ms + 1, until_ms)
                self._running_loop = RunningLoop(loop, start_ms)
                if loop.has_sound and self._silence is not None:
                    self._fill(out, self._silence.before(start_ms))
                    self._silence = None
            self._fill(out, self._running_loop.until(until_ms))
        else:
            self._fill_picture(out, until_ms)
        if self._running_loop is None or not self._running_loop.has_sound:
            self._fill_sound(out, until_ms)
        self._write(out)

    def _fill_picture(self, out: list[Packet], until_ms: int) -> None:
        last_ms = self._last[_VIDEO]
        if last_ms is not None and until_ms - last_ms >= self._filling.repeat_ms:
            picture = self._still if self._still is not None and self.is_held else self._picture
            again = picture.at(until_ms)
            self._fill(out, [again] if again is not None else [])

    def _fill_sound(self, out: list[Packet], until_ms: int) -> None:
        track = self.out.tracks[_AUDIO] or self._source.tracks[_AUDIO]
        if track is None:
            if not self._filling.sound:
                return
            track = SILENT_AAC
        if self._silence is None:
            first_ms = min((packet.dts_ms for packet in out), default=until_ms)
            self._silence = RunningSilence.after(track, self._last[_AUDIO], first_ms)
        if self._silence is not None:
            self._fill(out, self._silence.until(until_ms))

    def _fill(self, out: list[Packet], packets: list[Packet]) -> None:
        self.filler_packets += len(packets)
        self._add(out, packets)

    def _add(self, out: list[Packet], packets: list[Packet]) -> None:
        for packet in packets:
            out.append(packet)
            self._last[_VIDEO if packet.is_video else _AUDIO] = packet.dts_ms

    def _write(self, out: list[Packet]) -> None:
        if out:
            out.sort(key=_dts)
            self.out.write(out)


def _dts(packet: Packet) -> int:
    return packet.dts_ms
