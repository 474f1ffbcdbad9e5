"""Encoders with bad clocks: what they capture and when, the timestamps they send, and how far the result is off."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from relay.media.timeline import Timeline


@dataclass(slots=True)
class Sent:
    """One packet: captured at ``true_ms``, stamped ``stamp`` on an unbounded clock, read at ``arrival_ms``."""

    true_ms: float
    is_video: bool
    stamp: int
    arrival_ms: float


@dataclass(slots=True)
class Encoder:
    """Captures video of ``fps`` and audio of 1024-sample frames at ``rate`` for ``length_ms``.

    ``base_ms`` (video, audio): what its clock shows at the start. ``clock_bits``: where that wraps. ``audio_pace``:
    how fast its audio clock runs. ``lag_ms`` and ``audio_lag_ms``: how late all of it, and audio beyond that, is sent.
    """

    fps: float = 30.0
    rate: int = 48000
    length_ms: float = 20_000
    base_ms: tuple[int, int] = (0, 0)
    clock_bits: int = 32
    audio_pace: float = 1.0
    lag_ms: float = 40.0
    audio_lag_ms: float = 0.0
    packets: list[Sent] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        for is_video, frame_ms in ((True, 1000 / self.fps), (False, 1_024_000 / self.rate)):
            base, late = self.base_ms[0 if is_video else 1], 0.0 if is_video else self.audio_lag_ms
            pace = 1.0 if is_video else self.audio_pace
            for number in range(int(self.length_ms / frame_ms)):
                at = number * frame_ms
                self.packets.append(Sent(at, is_video, base + int(at * pace), at + self.lag_ms + late))
        self.in_order()

    @property
    def frames_ms(self) -> float:
        """One video frame and one audio frame, and the rounding of each."""
        return 1000 / self.fps + 1_024_000 / self.rate + 2

    def in_order(self) -> "Encoder":
        self.packets.sort(key=lambda packet: packet.arrival_ms)
        return self

    def jump(self, at_ms: float, by_ms: int, *, tracks: str = "va", until_ms: float = float("inf")) -> "Encoder":
        """From ``at_ms`` on its clock shows ``by_ms`` more on ``tracks``; until ``until_ms`` only, if given."""
        for packet in self.packets:
            if at_ms <= packet.true_ms < until_ms and ("v" if packet.is_video else "a") in tracks:
                packet.stamp += by_ms
        return self

    def lose(self, from_ms: float, to_ms: float, tracks: str = "va") -> "Encoder":
        """Media captured in between is never sent."""
        self.packets = [
            packet
            for packet in self.packets
            if not (from_ms <= packet.true_ms < to_ms and ("v" if packet.is_video else "a") in tracks)
        ]
        return self

    def stall(self, from_ms: float, to_ms: float) -> "Encoder":
        """The link stands still in between: all of it comes at the end, in a burst."""
        for packet in self.packets:
            if from_ms <= packet.arrival_ms < to_ms:
                packet.arrival_ms = to_ms
        return self

    def run(self, timeline: Timeline, *, read_ms: float = 20.0, told: bool = True, start_ms: float = 0) -> "Outcome":
        """Everything through ``timeline``, in reads ``read_ms`` apart on an arrival clock from ``start_ms`` on."""
        outcome = Outcome()
        read = -1
        for packet in self.packets:
            number = int(packet.arrival_ms // read_ms)
            if told and number != read:
                read = number
                timeline.arrived(int(start_ms + (number + 1) * read_ms))
            dts = timeline.place(packet.stamp % (1 << self.clock_bits), packet.is_video)
            (outcome.video if packet.is_video else outcome.audio).append((packet.true_ms, dts))
        return outcome


@dataclass(slots=True)
class Outcome:
    """(captured at, DTS) of every packet, by track."""

    video: list[tuple[float, int]] = field(default_factory=list, repr=False)
    audio: list[tuple[float, int]] = field(default_factory=list, repr=False)

    def check_growth(self) -> None:
        for track in (self.video, self.audio):
            assert all(earlier < later for (_, earlier), (_, later) in pairwise(track))

    def skew_ms(self, unsettled: Sequence[tuple[float, float]] = ()) -> float:
        """How far audio and video captured together are apart at most; times of capture in ``unsettled`` apart."""
        captured = [at for at, _ in self.audio]
        worst = 0.0
        for at, dts in self.video:
            index = bisect_right(captured, at) - 1
            if index < 0 or at - captured[index] > 200 or any(begin <= at < end for begin, end in unsettled):
                continue
            worst = max(worst, abs((dts - at) - (self.audio[index][1] - captured[index])))
        return worst

    def shift_ms(self) -> float:
        """How far media time has moved against the time of capture, at most, since the first packet of a track."""
        tracks = [track for track in (self.video, self.audio) if track]
        return max(abs((dts - at) - (track[0][1] - track[0][0])) for track in tracks for at, dts in track)

    def holes_ms(self, over_ms: float = 150) -> list[int]:
        """The steps of all packets together that are over ``over_ms``."""
        placed = sorted(dts for _, dts in (*self.video, *self.audio))
        return [later - earlier for earlier, later in pairwise(placed) if later - earlier > over_ms]
