"""Timeline: a publisher's 32-bit millisecond clock turned into one that only goes forward."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from relay.media.drift import SAMPLE_MS, Drift

_WRAP = 1 << 32
_SHORT_WRAPS = (1 << 31, 1 << 24)  # encoders with a signed clock, and those that never send extended timestamps

NEAR_MS = 500  # steps up to this are taken as sent, without a second look
_FITS_MS = 300  # how far from its expected place a stamp may land and still go on where its track was
_SHARED_MS = 1000  # the same for the base the other track is on: common ground is worth a small step
_KNOWN_MS = 50  # the same for a base it was on before: what comes back after an outlier fits closely
_BACK_MS = 500  # steps back up to this are disorder (PTS sent for DTS, a corrected clock), not a new base
_AHEAD_MS = 1000  # how far beyond the arrival clock media may be: it cannot come from the future
_UNPACED_MS = 10_000  # the same where the arrival clock says nothing: not told, or a publisher faster than it
_FAST_MS = 2000  # a publisher this far ahead of its own start is not paced by real time
_PAUSE_MS = 1000  # silence from which on a new base begins later, by the silence
_APART_MS = 3000  # tracks that begin further apart than this are on different clocks
_SETTLED_MS = 5000  # without a new base for so long, the tracks' bases are what they are
_LATE_MS = 200  # video later than this says that the link or the encoder is congested
_FORGET = 0.001  # how fast the earliest arrival is forgotten: clocks differ by less
_REMEMBERED = 8
_ROOM_MS = 1 << 30  # a stream that began later than this would reach the peers' own wraps within days


class Clock(Protocol):
    """What turns the 32-bit timestamps of one publisher or file into DTS."""

    def place(self, timestamp: int, is_video: bool) -> int:
        """The DTS in ms for wire timestamp ``timestamp`` (0…2^32-1) of the video or the audio track."""


class FileClock:
    """The clock of files of our own making: nothing but the 32-bit field to unwrap (RFC 1982)."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def place(self, timestamp: int, is_video: bool) -> int:
        """The DTS in ms: the number nearest to the last one; the first is kept."""
        self._last = timestamp if self._last is None else _nearest(timestamp, self._last)
        return self._last


class _Track:
    """Where one track is. DTS = timestamp + ``offset``. All in ms."""

    __slots__ = (
        "fresh",
        "heard",
        "home",
        "last",
        "leapt_from",
        "leapt_to",
        "lifted",
        "offset",
        "seen",
        "since",
        "step",
    )

    def __init__(self, floor_ms: int) -> None:
        self.fresh = True
        self.offset = -1 << 62  # so that the first packet is judged
        self.last = self.seen = self.since = floor_ms  # last: the DTS given last; seen: that of the read before
        self.step = 0  # between the last two
        self.heard: int | None = None  # arrival of the last read that brought the track
        self.home: int | None = None  # the offset it was on for a while before the present one
        self.leapt_from = self.leapt_to = self.lifted = floor_ms - _WRAP


class Timeline:
    """Maps the timestamps of one publisher's connection onto the stream's own milliseconds.

    Each track's DTS only grows, above ``floor_ms`` (one for both, or of video and of audio; None: any), whatever is
    sent. ``origin_ms`` is where the first packet lands, later by as much as it arrives after ``origin_at_ms``, where
    that is given; ``None`` keeps the publisher's own number, or begins at 0 where that is very large. Small steps are
    taken as sent; a larger one is a wrap, a base known already (both tracks share what they know, and an outlier is
    followed by the old base), a hole that real time explains, or a new base, on which media goes on where it was.

    ``jumps`` counts changes of base, ``repaired`` all packets that were not placed where their clock said,
    ``nudged_ms`` by how much audio that drifts from its video was moved.
    """

    __slots__ = (
        "_apart",
        "_audio",
        "_changed_ms",
        "_drift",
        "_lag",
        "_lag_at_first",
        "_now_ms",
        "_origin_at_ms",
        "_origin_ms",
        "_remembered",
        "_sample_ms",
        "_sampled",
        "_video",
        "_video_lag",
        "jumps",
        "nudged_ms",
        "repaired",
    )

    def __init__(
        self,
        origin_ms: int | None = None,
        floor_ms: int | tuple[int | None, int | None] = -_WRAP,
        origin_at_ms: int | None = None,
    ) -> None:
        self._origin_ms = origin_ms
        self._origin_at_ms = origin_at_ms
        video_ms, audio_ms = floor_ms if isinstance(floor_ms, tuple) else (floor_ms, floor_ms)
        self._video = _Track(-_WRAP if video_ms is None else video_ms)
        self._audio = _Track(-_WRAP if audio_ms is None else audio_ms)
        self._remembered: deque[int] = deque(maxlen=_REMEMBERED)
        self._apart = 0  # audio's offset minus video's, where they are on clocks of their own
        self._now_ms: int | None = None
        self._changed_ms = 0  # when a base changed last
        # Arrival minus DTS at its least: media without delay. Of the track ahead, and of video.
        self._lag: float | None = None
        self._lag_at_first = 0.0
        self._video_lag: float | None = None
        self._drift = Drift()
        self._sample_ms = 0
        self._sampled = (0, 0)
        self.repaired = self.jumps = self.nudged_ms = 0

    # --- every packet, every read ---------------------------------------------------------------------------------

    def place(self, timestamp: int, is_video: bool) -> int:
        """The DTS in ms for wire timestamp ``timestamp`` (0…2^32-1) of the video or the audio track."""
        track = self._video if is_video else self._audio
        dts = timestamp + track.offset
        step = dts - track.last
        if 0 < step <= NEAR_MS:
            track.last = dts
            track.step = step
            return dts
        return self._judge(track, timestamp)

    def arrived(self, now_ms: int) -> None:
        """The packets placed from now on were read at ``now_ms``, on a clock that never goes back."""
        before = now_ms if self._now_ms is None else self._now_ms
        self._now_ms = now_ms
        video, audio = self._video, self._audio
        if video.last != video.seen or audio.last != audio.seen:
            self._note_lag(before)
            if video.last != video.seen:
                video.seen, video.heard = video.last, before
            if audio.last != audio.seen:
                audio.seen, audio.heard = audio.last, before
        if now_ms >= self._sample_ms:
            self._sample(now_ms)

    def _note_lag(self, now_ms: int) -> None:
        lag = now_ms - max(self._video.last, self._audio.last)
        if self._lag is None:
            self._lag = self._lag_at_first = lag
        elif lag < self._lag:
            self._lag = lag

    # --- now and then ---------------------------------------------------------------------------------------------

    def _sample(self, now_ms: int) -> None:
        """Forget old lags slowly, and look whether audio drifts from video."""
        self._sample_ms = now_ms + SAMPLE_MS
        if self._lag is not None:
            self._lag += SAMPLE_MS * _FORGET
        video, audio = self._video, self._audio
        if video.heard is None or audio.heard is None:
            return
        before, self._sampled = self._sampled, (video.last, audio.last)
        if video.last == before[0] or audio.last == before[1]:
            return  # one of them starves
        lag = video.heard - video.last
        self._video_lag = lag if self._video_lag is None else min(lag, self._video_lag + SAMPLE_MS * _FORGET)
        if now_ms - self._changed_ms < _SETTLED_MS and self.jumps:
            return
        self._apart = audio.offset - video.offset
        if lag - self._video_lag < _LATE_MS:  # a queue in a congested encoder, where audio overtakes, is no drift
            nudge_ms = self._drift.sample(audio.last - video.last)
            audio.offset += nudge_ms
            self.nudged_ms += nudge_ms

    # --- packets that are not simply next --------------------------------------------------------------------------

    def _judge(self, track: _Track, timestamp: int) -> int:
        """Place a packet that does not follow its track's last one closely."""
        other = self._audio if track is self._video else self._video
        was = track.offset
        track.offset = (self._begin if track.fresh else self._go_on)(track, other, timestamp) - timestamp
        dts = timestamp + track.offset
        step = dts - track.last
        if not track.fresh and (track.offset - was) & (_WRAP - 1):
            # A base that served for a moment only was an outlier's, and not worth remembering.
            if track.last - track.since > _FITS_MS or track.offset - was in _SHORT_WRAPS:
                if was in self._remembered:
                    self._remembered.remove(was)
                self._remembered.append(was)
                track.home = was
            track.since = dts
        if step <= 0:
            dts = track.lifted = track.last + 1
            self.repaired += 1
        elif track.fresh:
            track.since = dts
        else:
            if step > NEAR_MS:
                track.leapt_from, track.leapt_to = track.last, dts
            track.step = min(step, 2 * track.step + 40)
        track.last = dts
        track.fresh = False
        return dts

    def _begin(self, track: _Track, other: _Track, timestamp: int) -> int:
        """The place of a track's first packet: beside the other track, on its clock if that comes near."""
        if other.fresh:
            if self._origin_ms is None:
                return timestamp if timestamp < _ROOM_MS else 0
            waited_ms = 0 if self._origin_at_ms is None or self._now_ms is None else self._now_ms - self._origin_at_ms
            return self._origin_ms + max(0, waited_ms)
        reach = other.last + _APART_MS
        if self._now_ms is not None and other.heard is not None:
            reach += self._now_ms - other.heard
        for offset in (other.offset, *self._remembered):
            dts = _nearest(timestamp + offset, other.last)
            if other.last - _APART_MS <= dts <= reach:
                return dts
        self._apart = (other.last - timestamp - other.offset) * (1 if track is self._audio else -1)
        self._rebased()
        return other.last

    def _go_on(self, track: _Track, other: _Track, timestamp: int) -> int:
        last = track.last
        pause = 0
        if track.heard is not None and self._now_ms is not None and track.last == track.seen:
            pause = self._now_ms - track.heard
        low, high = last + 1, last + 2 * track.step + pause
        if not other.fresh and other.last > high:
            high = other.last

        def miss(dts: int) -> int:
            return max(low - dts, dts - high, 0)

        own = _nearest(timestamp + track.offset, last)
        if not miss(own):
            return own
        if miss(own) <= _FITS_MS:
            # A track left behind on an outlier's base fits without any doubt on the one the other has gone back to.
            shared = _nearest(timestamp + other.offset, last)
            if other.fresh or miss(shared) or abs(shared - own) <= _FITS_MS:
                return own
        wire = last - track.offset & _WRAP - 1
        for wrap in _SHORT_WRAPS:
            if timestamp < wrap // 2 <= wire < wrap:
                dts = timestamp + track.offset + wrap
                if dts > last and (miss(dts) <= _FITS_MS or self._is_real(track, other, dts)):
                    return dts
        if self._returns(track, other, own):
            return own
        known = [(_nearest(timestamp + offset, last), allowed) for offset, allowed in self._known(track, other)]
        known = [(dts, allowed) for dts, allowed in known if abs(dts - own) > _FITS_MS]
        best = min((dts for dts, allowed in known if miss(dts) <= allowed), key=miss, default=None)
        if best is None or miss(best):
            if own > last:
                if self._is_real(track, other, own):
                    return own
            elif own > last - _BACK_MS * (1 if other.last - other.lifted > _SHARED_MS else 2):
                return own
        if best is not None:
            self._rebased()
            return best
        for dts, _ in known:
            if self._returns(track, other, dts):
                return dts
        self._rebased()
        return last + max(track.step, 1) + (pause if pause > _PAUSE_MS else 0)

    def _known(self, track: _Track, other: _Track) -> Iterator[tuple[int, int]]:
        """(offset, how far off it may be) of the bases ``track`` may have gone to, the likeliest first."""
        if track.home is not None:
            yield track.home, _KNOWN_MS
        if not other.fresh:
            yield other.offset, _SHARED_MS
            if self._apart:
                yield other.offset + (self._apart if track is self._audio else -self._apart), _SHARED_MS
        for offset in self._remembered:
            yield offset, _KNOWN_MS

    def _returns(self, track: _Track, other: _Track, dts: int) -> bool:
        """Whether ``dts`` is back where an outlier that passed for a hole came from, beside the other track."""
        return track.leapt_from - _BACK_MS <= dts <= track.leapt_to and abs(dts - other.last) <= _BACK_MS

    def _is_real(self, track: _Track, other: _Track, dts: int) -> bool:
        """Whether a step forward to ``dts`` is a hole in the media, and no whim of the encoder's clock."""
        if not other.fresh and dts <= other.last + _AHEAD_MS:
            return True
        if self._now_ms is None:
            return dts - track.last <= _UNPACED_MS
        if track.last != track.seen or other.last != other.seen:
            self._note_lag(self._now_ms)
        if self._lag is None:
            return dts - track.last <= _UNPACED_MS
        unpaced = self._lag_at_first - self._lag > _FAST_MS
        return dts <= self._now_ms - self._lag + (_UNPACED_MS if unpaced else _AHEAD_MS)

    def _rebased(self) -> None:
        self.jumps += 1
        self.repaired += 1
        self._changed_ms = self._now_ms or 0


def _nearest(value: int, to: int) -> int:
    """The number nearest to ``to`` of those congruent to ``value`` modulo 2^32 (RFC 1982)."""
    return to + ((value - to + _WRAP // 2) & (_WRAP - 1)) - _WRAP // 2
