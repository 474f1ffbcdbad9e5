"""A stream with its publisher, held, on a clock of the test's own: what is played, and what a destination gets."""

from collections.abc import Callable
from itertools import pairwise

from relay.hub import Batch, Stream, StreamState
from relay.hub.hold import Filling, HeldStream
from relay.media import Codec, Packet, Track
from relay.protocol import codecs

VIDEO = Track(codec=Codec.H264, header=b"\x01\x42\xc0\x1e\xff\xe1\x00\x04\x67\x42\xc0\x1e\x01\x00\x02\x68\xce")
AUDIO = codecs.read_track(Codec.AAC, b"\x11\x90")
FRAME_MS, SOUND_MS = 40, 21


class Clock:
    """Time, and the ticks that come with it (in place of hub.Ticker)."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._parked: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def park(self, resume: Callable[[], None]) -> None:
        self._parked.append(resume)

    def sleep(self, seconds: float) -> None:
        """Let time pass, a tick every 100 ms."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            parked, self._parked = self._parked, []
            for resume in parked:
                resume()


class Watcher:
    """A destination: keeps what it gets."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.is_over = False

    def take(self, batch: Batch) -> None:
        self.packets += batch.packets

    def ended(self, error: Exception | None) -> None:
        assert error is None
        self.is_over = True

    def track(self, is_video: bool) -> list[Packet]:
        return [packet for packet in self.packets if packet.is_video == is_video]


class Show:
    """A stream with its publisher, held; ``play`` is the publisher's media in real time."""

    def __init__(self, filling: Filling | None = None) -> None:
        self.clock = Clock()
        self.stream = Stream("demo")
        self.stream.state = StreamState.LIVE
        self.ms = 0
        self.sent: list[Packet] = []
        self.away_since: float | None = None
        self.held = HeldStream(
            self.stream,
            filling or Filling(),
            self.clock,
            self.clock,
            lambda: self.away_since,  # type: ignore[arg-type]
        )
        self.watcher = Watcher()
        self.held.out.subscribe(self.watcher)

    def play(
        self,
        seconds: float,
        *,
        video: bool = True,
        audio: bool = True,
        gop: int = 50,
        first: int = 0,
        pace: float = 1.0,
    ) -> None:
        """Media of ``seconds``, in batches of 200 ms; every ``gop``-th picture from number ``first`` is a keyframe."""
        number = -first
        for _ in range(round(seconds * 5)):
            batch = []
            for step in range(5):
                dts_ms = self.ms + step * FRAME_MS
                if video:
                    batch.append(Packet(VIDEO, dts_ms, dts_ms, number % gop == 0, b"\0\0\0\1" + bytes((0x65, step))))
                number += 1
            if audio:
                start = -(-self.ms // SOUND_MS)
                batch += [
                    Packet(AUDIO, frame * SOUND_MS, frame * SOUND_MS, True, b"sound")
                    for frame in range(start, -(-(self.ms + 200) // SOUND_MS))
                ]
            self.ms += 200
            self.clock.sleep(0.2 * pace)
            if batch:
                batch.sort(key=lambda packet: packet.dts_ms)
                self.sent += batch
                self.stream.write(batch)

    def away(self, seconds: float, *, told_after: float = 0.0) -> None:
        """The publisher is gone; the hub notices ``told_after`` seconds later. Its clock goes on."""
        self.clock.sleep(told_after)
        self.held.hold()
        self.clock.sleep(seconds - told_after)
        self.ms += round(seconds * 1000)

    def check(self, most_ms: int, sound_ms: int = 0) -> None:
        """DTS grows on each track, with no hole over ``most_ms`` (sound: ``sound_ms``)."""
        for is_video, limit in ((True, most_ms), (False, sound_ms or most_ms)):
            times = [packet.dts_ms for packet in self.watcher.track(is_video)]
            steps = [later - earlier for earlier, later in pairwise(times)]
            assert all(0 < step <= limit for step in steps), (is_video, min(steps), max(steps))
