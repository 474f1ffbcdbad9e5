"""A destination as strict as the strictest platform: it ends the session at the first rule broken, and says which."""

import asyncio
import time

from relay.protocol.rtmp.server import ServerConnection
from tests.support.sink import Arrival, Behaviour, Sink

SILENCE_S = 10.0


class StrictSink(Sink):
    """Broken rules are in ``broken``, by key: times that do not grow, a header that changed, missing sound, a pause of
    more than 10 s, or a beginning other than metadata, headers, keyframe."""

    def __init__(
        self, behaviour: Behaviour | None = None, *, needs_audio: bool = True, silence_s: float = SILENCE_S
    ) -> None:
        super().__init__(behaviour)
        self.broken: list[str] = []
        self._needs_audio = needs_audio
        self._silence_s = silence_s
        self._watches: list[asyncio.Task[None]] = []

    def _handle(self, arrival: Arrival, connection: ServerConnection, data: bytes) -> bool:
        seen = len(arrival.listing.items)
        headers = len(arrival.listing.headers)
        if super()._handle(arrival, connection, data):
            return True
        if not arrival.listing.items:
            return False
        if seen == 0:
            self._watches.append(asyncio.get_running_loop().create_task(self._watch(arrival)))
        return self._judge(arrival, seen, headers)

    def _judge(self, arrival: Arrival, seen: int, headers: int) -> bool:
        items, order = arrival.listing.items, arrival.order
        last = {item.track: item.dts_ms for item in items[:seen]}
        if seen < 50:
            self._check_beginning(arrival, order)
        for item in items[seen:]:
            before = last.get(item.track)
            if before is not None and item.dts_ms <= before:
                self._break(arrival, f"{item.track} DTS {item.dts_ms} after {before}")
            last[item.track] = item.dts_ms
        first: dict[str, str] = {}
        for _, track, digest in arrival.listing.headers:
            if first.setdefault(track, digest) != digest and len(arrival.listing.headers) > headers:
                self._break(arrival, f"the {track} header changed")
        return any(text.startswith(arrival.name + ":") for text in self.broken)

    def _check_beginning(self, arrival: Arrival, order: list[str]) -> None:
        expected = ["metadata", "video header", "audio header", "keyframe"]
        if not self._needs_audio:
            expected.remove("audio header")
        if order[: len(expected)] != expected[: len(order)]:
            self._break(arrival, f"begins with {order[:5]}")

    async def _watch(self, arrival: Arrival) -> None:
        """Sound, and anything at all, must keep coming."""
        heard, count, sounds = time.monotonic(), 0, 0
        sound_at = heard
        while arrival.closed_at is None and not arrival.goodbye:
            await asyncio.sleep(0.2)
            now = time.monotonic()
            items = arrival.listing.items
            if len(items) > count:
                sounds += sum(item.track == "audio" for item in items[count:])
                if any(item.track == "audio" for item in items[count:]):
                    sound_at = now
                count, heard = len(items), now
            if now - heard > self._silence_s:
                self._break(arrival, f"nothing for {now - heard:.1f} s")
            if self._needs_audio and now - sound_at > self._silence_s:
                self._break(arrival, f"no sound for {now - sound_at:.1f} s")
            if any(text.startswith(arrival.name + ":") for text in self.broken):
                return

    def _break(self, arrival: Arrival, rule: str) -> None:
        text = f"{arrival.name}: {rule}"
        if text not in self.broken:
            self.broken.append(text)

    async def close(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await super().close()
