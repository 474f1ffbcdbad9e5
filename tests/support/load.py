"""Many publishers at once, for as long as asked."""

import asyncio
import random
import time
from pathlib import Path

from tests.support.listing import SCRIPT, tags
from tests.support.publisher import Publisher


async def repeat(publisher: Publisher, clip: Path, seconds: float) -> None:
    """Send ``clip`` in real time, again and again with times going on, until ``seconds`` are over."""
    all_tags = await asyncio.to_thread(lambda: list(tags(clip.read_bytes())))
    media = [tag for tag in all_tags if tag[0] != SCRIPT]
    length_ms = max(stamp for _, stamp, _ in media) + 34
    started = time.monotonic()
    turn = 0
    while (left := seconds - (time.monotonic() - started)) > 0:
        # A repeated sequence header, as encoders send with each keyframe, changes nothing.
        await publisher.send_tags(
            all_tags if turn == 0 else media, offset_ms=turn * length_ms, until_ms=int(left * 1000)
        )
        turn += 1
        ahead = turn * length_ms / 1000 - (time.monotonic() - started)
        if ahead > 0:
            await asyncio.sleep(min(ahead, max(0.0, seconds - (time.monotonic() - started))))


async def publish_all(urls: list[str], clip: Path, seconds: float) -> list[Publisher]:
    """One publisher for each URL, started within a second of each other; what each sent is in its ``sent``."""

    async def one(url: str) -> Publisher:
        await asyncio.sleep(random.random())
        async with Publisher(url) as publisher:
            await repeat(publisher, clip, seconds)
        return publisher

    return list(await asyncio.gather(*(one(url) for url in urls)))
