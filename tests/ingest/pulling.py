"""What tests of sources share: a channel that pulls, what its stream has kept, and waiting for its source's state."""

import asyncio
import hashlib
import time
from collections.abc import Callable

from relay.app import App
from relay.control import models
from relay.hub import Batch
from relay.media import Packet

CHANNEL = "demo"


class Kept:
    """Everything written to a channel's stream (hub.Reader)."""

    def __init__(self, app: App, channel: str = CHANNEL) -> None:
        self.packets: list[Packet] = []
        self.ends = 0
        app.hub.stream(channel).subscribe(self, whole=True)

    def take(self, batch: Batch) -> None:
        self.packets += batch.packets

    def ended(self, error: Exception | None) -> None:
        self.ends += 1

    def digests(self, *, video: bool) -> list[str]:
        return [hashlib.sha256(item.data).hexdigest() for item in self.packets if item.is_video is video]


async def pull(app: App, url: str, channel: str = CHANNEL, **more: object) -> None:
    """Give the channel a source."""
    source = models.SourceOptions.model_validate({"url": url, **more})
    await app.control.change_channel(channel, models.ChannelChange(source=source))


async def until(condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.02)


async def source_is(
    app: App, state: str, words: str = "", channel: str = CHANNEL, within_s: float = 60.0
) -> models.SourceView:
    """The channel's source, once it is in ``state`` and says ``words``."""

    def found() -> models.SourceView | None:
        view = app.control.channel(channel).source
        assert view is not None
        return view if view.state == state and words in view.last_error else None

    deadline = time.monotonic() + within_s
    while (view := found()) is None:
        assert time.monotonic() < deadline, f"not {state} {words!r}: {app.control.channel(channel).source}"
        await asyncio.sleep(0.02)
    return view
