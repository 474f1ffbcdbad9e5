"""Events for the fault runs of the archive: published on many channels, and looked for in the bucket at the end."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import clips
from tests.support.clips import Clip
from tests.support.listing import Listing
from tests.support.publisher import Publisher
from tests.support.relay import Relay
from tests.support.s3 import S3Server

# A keyframe every half second, so that segments of 1 s are cut.
_VIDEO = ("libx264", "-preset", "ultrafast", "-b:v", "900k", "-maxrate", "900k", "-bufsize", "900k", "-g", "15")
SHORT = Clip("events-short", (*_VIDEO, "-keyint_min", "15", "-bf", "0"), clips.H264.audio, 15)
LONG = Clip("events-long", SHORT.video, SHORT.audio, 120)


@dataclass
class Event:
    """One event: its channel, which of the channel's it is, and what was sent."""

    channel: str
    number: int
    sent: Listing


class Events:
    """Everything published to one relay in a run, ``channels`` events at a time."""

    def __init__(self, relay: Relay, channels: int) -> None:
        self.relay = relay
        self.events: list[Event] = []
        self._names = [f"c{number}" for number in range(channels)]
        self._channels: dict[str, dict[str, Any]] = {}
        self._rounds = 0

    async def publish(self, seconds: float, *, speed: float | None = None) -> None:
        """One event on each channel, from the beginning of the clip: about one segment a second."""
        clip = await asyncio.to_thread(clips.make, SHORT if seconds <= SHORT.seconds else LONG)
        self._rounds += 1
        for name in self._names:
            if name not in self._channels:
                self._channels[name] = await self.relay.add_channel(name)
        await asyncio.gather(*(self._publish(name, clip, seconds, speed) for name in self._names))

    async def _publish(self, name: str, clip: Path, seconds: float, speed: float | None) -> None:
        async with Publisher(self.relay.publish_url(self._channels[name])) as publisher:
            await publisher.send(clip, speed=speed, until_ms=round(seconds * 1000))
        self.events.append(Event(name, self._rounds, publisher.sent))

    async def rows(self) -> list[tuple[Event, dict[str, Any]]]:
        """Each event with its recording, as far as there is one."""
        found = []
        for name in self._names:
            rows = (await self.relay.api("GET", f"/recordings?channel={name}"))["recordings"]
            rows.sort(key=lambda row: row["started_at"])
            found += [
                (event, rows[event.number - 1])
                for event in self.events
                if event.channel == name and event.number <= len(rows)
            ]
        return found

    async def packaged(self, within: float = 120.0) -> int:
        """Once every event is a complete recording: how many segments they have."""
        return await self._until("segments", within)

    async def stored(self, within: float = 120.0) -> int:
        """Once every event is complete and in the store, as the relay says: how many segments that are."""
        return await self._until("segments_stored", within)

    async def _until(self, field: str, within: float) -> int:
        until = time.monotonic() + within
        while True:
            rows = await self.rows()
            ready = [row for _, row in rows if row["state"] == "complete" and row[field] == row["segments"] > 0]
            if len(ready) == len(self.events):
                return sum(row["segments"] for row in ready)
            assert time.monotonic() < until, f"{len(ready)} of {len(self.events)} events ready after {within} s"
            await asyncio.sleep(0.2)

    async def wrong(self, server: S3Server, within: float = 60.0) -> list[str]:
        """What is missing or wrong in the bucket, each named; empty when all that was sent is there, and only that."""
        rows = await self.rows()
        found = [] if len(rows) == len(self.events) else [f"{len(self.events) - len(rows)} events without a recording"]
        for event, row in rows:
            until = time.monotonic() + within
            while True:
                wrong = await asyncio.to_thread(_wrong, server, event, row)
                if not wrong or time.monotonic() > until:
                    break
                await asyncio.sleep(0.5)  # the playlist follows the last segment
            found += wrong
        return found


def _wrong(server: S3Server, event: Event, row: dict[str, Any]) -> list[str]:
    where = f"{event.channel}/{row['id']}"
    try:
        stored = server.read(where)
    except server.errors as error:
        return [f"{where}: {error}"]
    if "#EXT-X-ENDLIST" not in stored.playlist or len(stored.parts) != row["segments"]:
        return [f"{where}: {len(stored.parts)} of {row['segments']} segments in its playlist"]
    kept = stored.listing()
    return [
        f"{where}: {track} is not what was sent"
        for track in ("video", "audio")
        if [item.digest for item in kept.track(track)] != [item.digest for item in event.sent.track(track)]
    ]
