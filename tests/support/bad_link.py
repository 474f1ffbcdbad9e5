"""A link that cuts, delays and reorders uploads: takes what an encoder sends, and brings it to the relay in the end."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

PARALLEL = 3  # fewer than how many segments the relay lets wait for one that is missing
RETRY_S = 0.1


@dataclass
class Upload:
    """One request as the encoder made it. ``statuses``: what the relay answered, attempt by attempt; 0: cut."""

    method: str
    name: str
    data: bytes
    statuses: list[int] = field(default_factory=list)

    @property
    def is_segment(self) -> bool:
        return self.method in ("PUT", "POST") and not self.name.endswith((".m3u8", ".mpd", "init.mp4"))


class BadLink:
    """``url``: where the encoder uploads; ``target``: the same at the relay. Each request is repeated until a 2xx."""

    def __init__(
        self, target: str, *, cut: float = 0.2, delay_s: float = 0.2, seed: int = 8216, held: str = ""
    ) -> None:
        self._target = urlsplit(target)
        self._cut = cut
        self._delay_s = delay_s
        self._held = held
        self._random = random.Random(seed)
        self._queue: asyncio.Queue[Upload] = asyncio.Queue()
        self._bringing: list[asyncio.Task[None]] = []
        self.uploads: list[Upload] = []
        self.cuts = 0
        self.url = ""

    def let_go(self) -> None:
        """Bring what was ``held`` back until now: the upload of that name."""
        self._held = ""
        for upload in self.uploads:
            if not upload.statuses:
                self._queue.put_nowait(upload)

    @property
    def segments(self) -> list[Upload]:
        """What the encoder sent of media, each name once, in its order."""
        return list({upload.name: upload for upload in self.uploads if upload.is_segment}.values())

    @property
    def acknowledged(self) -> int:
        return sum(1 for upload in self.uploads if upload.statuses and 200 <= upload.statuses[-1] < 300)

    async def drained(self, within: float = 120.0) -> None:
        """Until the relay has answered everything with 2xx."""
        joining = asyncio.create_task(self._queue.join())
        try:
            done, _ = await asyncio.wait(
                [joining, *self._bringing], timeout=within, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            waiting = [upload for upload in self.uploads if not upload.statuses or upload.statuses[-1] // 100 != 2]
            assert joining in done, f"not taken in {within} s: {[(item.name, item.statuses) for item in waiting[:9]]}"
        finally:
            joining.cancel()

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        upload = Upload(request.method, request.path.strip("/"), await request.content.read())
        self.uploads.append(upload)
        if upload.name != self._held:
            self._queue.put_nowait(upload)
        return web.Response(status=201)

    async def _bring(self) -> None:
        while True:
            upload = await self._queue.get()
            while not upload.statuses or not 200 <= upload.statuses[-1] < 300:
                await asyncio.sleep(self._random.random() * self._delay_s)
                try:
                    upload.statuses.append(await self._attempt(upload))
                except (OSError, asyncio.IncompleteReadError):
                    upload.statuses.append(0)
                if upload.statuses[-1] < 200:
                    await asyncio.sleep(RETRY_S)
                assert upload.statuses[-1] < 400 or upload.statuses[-1] >= 500, f"{upload.name}: {upload.statuses}"
            self._queue.task_done()

    async def _attempt(self, upload: Upload) -> int:
        """The status, or 0 where the link broke: in the head, in the body, or before the answer was here."""
        host, port = self._target.hostname, self._target.port
        reader, writer = await asyncio.open_connection(host, port)
        try:
            head = f"{upload.method} {self._target.path}/{upload.name} HTTP/1.1\r\nHost: relay\r\n"
            whole = f"{head}Content-Length: {len(upload.data)}\r\n\r\n".encode() + upload.data
            is_cut = self._random.random() < self._cut
            at = self._random.randrange(len(whole) + 1 + len(whole) // 8) if is_cut else len(whole)
            writer.write(whole[:at])
            await writer.drain()
            if at < len(whole):
                self.cuts += 1
                writer.transport.abort()
                return 0
            if is_cut:
                self.cuts += 1
                return 0  # all of it went out, and the answer is lost
            line = await reader.readline()
            return int(line.split()[1]) if line else 0
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def bad_link(target: str, **how: Any) -> AsyncIterator[BadLink]:
    """A BadLink in front of ``target`` (the relay's address, the key included)."""
    link = BadLink(target, **how)
    runner = web.ServerRunner(web.Server(link._take), handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    link.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    bringing = link._bringing = [asyncio.create_task(link._bring()) for _ in range(PARALLEL)]
    try:
        yield link
    finally:
        for task in bringing:
            task.cancel()
        done = await asyncio.gather(*bringing, return_exceptions=True)
        await runner.cleanup()
        failed = [error for error in done if isinstance(error, Exception)]
        if failed:
            raise failed[0]
