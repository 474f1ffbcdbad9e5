"""Sources: what each destination of one channel reads: the stream itself, or the stream with its holes filled in."""

from relay.egress.base import DestinationConfig
from relay.hub import Stream, StreamState
from relay.hub.hold import Filling, HeldStream
from relay.hub.tick import Ticker


class Sources:
    """Made on demand while ``stream`` lives; destinations that want the same share it, and its encoded bytes."""

    def __init__(self, stream: Stream, ticker: Ticker) -> None:
        self._stream = stream
        self._ticker = ticker
        self._held: dict[Filling, HeldStream] = {}

    def of(self, config: DestinationConfig) -> Stream:
        """The stream a destination configured so reads."""
        filling = Filling(hold=config.hold.mode != "off", sound=config.needs_audio)
        if not filling.hold and not filling.sound:
            return self._stream
        held = self._held.get(filling)
        if held is None or held.is_over:
            held = self._held[filling] = HeldStream(self._stream, filling, self._ticker)
            if self._stream.state is StreamState.HOLDING:
                held.hold()
        return held.out

    def hold(self) -> None:
        """The publisher is gone or stalled."""
        for held in self._held.values():
            held.hold()

    @property
    def filler_packets(self) -> int:
        return sum(held.filler_packets for held in self._held.values())

    def close(self) -> None:
        for held in self._held.values():
            held.close()
        self._held.clear()
