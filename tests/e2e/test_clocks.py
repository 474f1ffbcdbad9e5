"""Encoders whose clocks misbehave, all at once: the strictest destination never notices, recordings have no gaps."""

import asyncio
from collections.abc import Callable

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.listing import SCRIPT, VIDEO, tags
from tests.support.probe import decode
from tests.support.publisher import Publisher
from tests.support.recording import read_folder
from tests.support.strict import StrictSink

Stamp = Callable[[int, int, int], int]
"""(number of the tag, its type, its time in ms) → the time it is sent with."""

CLOCKS: dict[str, Stamp] = {
    "before-24-bits": lambda _, __, ms: ms + (1 << 24) - 3000,
    "wraps-at-24-bits": lambda _, __, ms: (ms + (1 << 24) - 3000) % (1 << 24),
    "wraps-at-31-bits": lambda _, __, ms: (ms + (1 << 31) - 3000) % (1 << 31),
    "wraps-at-32-bits": lambda _, __, ms: (ms + (1 << 32) - 3000) % (1 << 32),
    "one-outlier": lambda number, _, ms: ms + (37_600_000 if number == 150 else 0),
    "ten-seconds-back": lambda number, _, ms: ms + (100_000 if number < 200 else 90_000),
    "starts-over": lambda number, _, ms: ms if number < 200 else max(0, ms - 2500),
    "tracks-apart": lambda _, kind, ms: ms + (0 if kind == VIDEO else 5_000_000),
}


async def test_no_clock_makes_a_destination_reconnect(start_relay: Start) -> None:
    relay = await start_relay(ARCHIVE__SEGMENT_S=2)
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    all_tags = [tag for tag in tags(clip.read_bytes()) if tag[1] < 8000]

    async def publish(name: str, stamp: Stamp) -> None:
        channel = await relay.add_channel(name)
        await relay.add_destination(name, "strict", sink.url, f"key-{name}")
        async with Publisher(relay.publish_url(channel)) as publisher:
            started = asyncio.get_running_loop().time()
            number = 0
            for kind, ms, body in all_tags:
                await asyncio.sleep(max(0.0, started + ms / 1000 - asyncio.get_running_loop().time()))
                is_media = kind != SCRIPT and body[1] != 0
                number += is_media
                publisher.send_tag(kind, stamp(number, kind, ms) if is_media else stamp(0, kind, 0), body)

    async with StrictSink() as sink:
        await asyncio.gather(*(publish(name, stamp) for name, stamp in CLOCKS.items()))
        for name in CLOCKS:
            await relay.wait_destination(name, "strict", "idle")
        assert sink.broken == []
        sent = [len([tag for tag in all_tags if tag[0] == kind and tag[2][1] != 0]) for kind in (VIDEO, 8)]
        for name in CLOCKS:
            assert len(sink.of(f"key-{name}")) == 1, name
            recording = await relay.recording(name)
            assert (await relay.api("GET", f"/recordings/{recording['id']}/gaps"))["gaps"] == [], name
            folder = relay.data / "archive" / name / recording["id"]
            kept = read_folder(folder)
            assert [len(kept.listing().track(track)) for track in ("video", "audio")] == sent, name
            assert sum(part.discontinuity for part in kept.parts) == 0, name
            assert abs(recording["duration_s"] - 8.0) < 0.2, (name, recording["duration_s"])
            await decode(folder / "index.m3u8", "-allowed_extensions", "ALL")
