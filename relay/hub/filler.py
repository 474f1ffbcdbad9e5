"""Filler: packets that stand in for a track that is away: its last keyframe again, a loop of other media, silence."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.media import Packet, Track
from relay.protocol.freeze import frozen
from relay.protocol.silence import Silence, silence


@dataclass(frozen=True, slots=True)
class Loop:
    """Media to be shown again and again: packets with DTS from 0 on, a keyframe first, and the length of it in ms.

    A single keyframe has no length: it is repeated as the last keyframe would be.
    """

    packets: Sequence[Packet]
    length_ms: int

    @property
    def has_sound(self) -> bool:
        return any(not packet.is_video for packet in self.packets)


class FrozenPicture:
    """The last keyframe, repeated. ``keyframe`` is set by whoever sees one go by."""

    __slots__ = ("_of", "_turn", "_variants", "keyframe")

    def __init__(self) -> None:
        self.keyframe: Packet | None = None
        self._of: Packet | None = None
        self._variants: tuple[Packet, ...] = ()
        self._turn = 0

    def at(self, dts_ms: int) -> Packet | None:
        """The keyframe to be shown at ``dts_ms``; None where there was none yet."""
        if self.keyframe is None:
            return None
        if self._of is not self.keyframe:
            self._of, self._variants = self.keyframe, frozen(self.keyframe)
        self._turn += 1
        again = self._variants[self._turn % len(self._variants)]
        return again._replace(dts_ms=dts_ms, pts_ms=dts_ms + again.pts_ms - again.dts_ms)


class RunningLoop:
    """A loop that has been begun at ``start_ms`` on the stream's timeline."""

    __slots__ = ("_loop", "_played", "_start_ms", "has_sound")

    def __init__(self, loop: Loop, start_ms: int) -> None:
        self.has_sound = loop.has_sound
        self._loop = loop
        self._start_ms = start_ms
        self._played = 0

    def until(self, until_ms: int) -> list[Packet]:
        """What is due by ``until_ms`` and was not taken yet."""
        packets = self._loop.packets
        due: list[Packet] = []
        while True:
            turn, index = divmod(self._played, len(packets))
            shift_ms = self._start_ms + turn * self._loop.length_ms
            packet = packets[index]
            if packet.dts_ms + shift_ms > until_ms:
                return due
            self._played += 1
            due.append(packet._replace(dts_ms=packet.dts_ms + shift_ms, pts_ms=packet.pts_ms + shift_ms))


class RunningSilence:
    """Silent frames end to end, in one track's format, for as long as they are asked for."""

    __slots__ = ("_count", "_frame", "_start_ms", "_track")

    def __init__(self, track: Track, frame: Silence, start_ms: int) -> None:
        self._track = track
        self._frame = frame
        self._start_ms = start_ms
        self._count = 0

    @classmethod
    def after(cls, track: Track, last_ms: int | None, now_ms: int) -> "RunningSilence | None":
        """Silence that follows the frame at DTS ``last_ms`` (None: begins at ``now_ms``); None: no such format."""
        frame = silence(track)
        if frame is None:
            return None
        return cls(track, frame, now_ms if last_ms is None else last_ms + max(1, round(frame.duration_ms)))

    def until(self, until_ms: int) -> list[Packet]:
        """The frames due by ``until_ms`` and not taken yet."""
        due: list[Packet] = []
        while (dts_ms := self._start_ms + round(self._count * self._frame.duration_ms)) <= until_ms:
            due.append(Packet(self._track, dts_ms, dts_ms, True, self._frame.data))
            self._count += 1
        return due

    def before(self, dts_ms: int) -> list[Packet]:
        """What is still to come before real sound begins at ``dts_ms``."""
        return self.until(dts_ms - max(1, round(self._frame.duration_ms / 2)))
