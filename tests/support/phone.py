"""A phone: sends a clip again and again in real time over a link that may die, and dials again when it notices."""

import asyncio
import contextlib
import time
from pathlib import Path

from tests.support.listing import SCRIPT, VIDEO, Listing, tags
from tests.support.netns import Link
from tests.support.publisher import Publisher, Refused


class Phone:
    """Publishes ``clip``, which must be long enough, to ``url`` from the far end of ``link``; its camera never stops.

    Encoders drop what they cannot send: media that falls due while there is no connection is never sent. Each
    connection begins with the headers and the next keyframe, timed from 0. Every access unit is sent once.
    """

    def __init__(self, url: str, clip: Path, link: Link | None = None) -> None:
        self.publishers: list[Publisher] = []
        self.accepted_s: list[float] = []
        """For each connection, how long it took from the request to the answer, in seconds."""
        self.muted = 0
        """The message type that is not sent for now: VIDEO or AUDIO."""
        all_tags = list(tags(clip.read_bytes()))
        self._headers = [tag for tag in all_tags if tag[0] == SCRIPT or tag[2][1] == 0]
        self._media = [tag for tag in all_tags if not (tag[0] == SCRIPT or tag[2][1] == 0)]
        self._url = url
        self._link = link
        self._began: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> Publisher:
        return self.publishers[-1]

    @property
    def sent(self) -> Listing:
        """All that was given to the network, on all connections."""
        whole = Listing()
        for publisher in self.publishers:
            whole.items += publisher.sent.items
        return whole

    async def dial(self) -> None:
        """A new connection, though the old one may not know it is dead; sends from now on."""
        await self.stop()
        publisher = Publisher(self._url, dial=None if self._link is None else self._link.socket)
        started = time.monotonic()
        await publisher.open()
        self.accepted_s.append(time.monotonic() - started)
        self.publishers.append(publisher)
        self._began = self._began or time.monotonic()
        self._task = asyncio.create_task(self._send(publisher, self._began))

    async def redial(self, within: float = 20.0) -> None:
        """Dial until somebody answers."""
        deadline = time.monotonic() + within
        while True:
            try:
                async with asyncio.timeout(2):
                    await self.dial()
            except (OSError, Refused, TimeoutError):
                assert time.monotonic() < deadline, "nobody answers"
                await asyncio.sleep(0.1)
            else:
                return

    async def stop(self) -> None:
        """Send nothing more; the connection stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def close(self, *, goodbye: bool = True) -> None:
        await self.stop()
        for publisher in self.publishers[:-1]:
            await publisher.abort()
        if self.publishers:
            with contextlib.suppress(OSError):
                await (self.current.close() if goodbye else self.current.abort())

    async def _send(self, publisher: Publisher, began: float) -> None:
        for type_id, _, body in self._headers:
            publisher.send_tag(type_id, 0, body)
        now_ms = (time.monotonic() - began) * 1000
        start = next(
            index
            for index, (type_id, stamp, body) in enumerate(self._media)
            if stamp >= now_ms and (type_id != VIDEO or body[0] == 0x17)
        )
        first_ms = self._media[start][1]
        for type_id, stamp, body in self._media[start:]:
            early_s = began + stamp / 1000 - time.monotonic()
            if early_s > 0.005:
                await asyncio.sleep(early_s)
            if publisher.ended is not None:
                return
            if type_id != self.muted:
                publisher.send_tag(type_id, stamp - first_ms, body)
                await publisher.drain()
        raise AssertionError("the clip is too short for this test")
