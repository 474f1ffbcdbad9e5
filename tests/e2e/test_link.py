"""Phones on links that die: the strictest destination never notices, the recording is one, gaps are what was missed."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.listing import AUDIO, VIDEO, Item, digest, tags
from tests.support.netns import Link
from tests.support.phone import Phone
from tests.support.probe import decode
from tests.support.publisher import Publisher
from tests.support.recording import Recording, read_folder
from tests.support.relay import Relay
from tests.support.strict import StrictSink

pytestmark = pytest.mark.timeout(1800 if clips.FULL else 300)
GOP_S = 2.0
STARVE_S = 30 if clips.FULL else 14
OUTAGES_S = [random.Random(7).uniform(3, 60) for _ in range(12)] if clips.FULL else [3.0, 9.0, 4.5]
BETWEEN_S = 25.0 if clips.FULL else 5.0
PHONE = clips.Clip(
    "phone",
    ("libx264", "-preset", "ultrafast", "-b:v", "130k", "-maxrate", "130k", "-bufsize", "130k", "-bf", "0",
     "-g", "60", "-keyint_min", "60", "-sc_threshold", "0"),
    ("aac", "-b:a", "48k", "-ar", "48000", "-ac", "2"),
    seconds=1500 if clips.FULL else 90,
    width=320,
    height=180,
)  # fmt: skip


@pytest.fixture
def link() -> Iterator[Link]:
    with Link() as made:
        yield made


@pytest.fixture
async def sink() -> AsyncIterator[StrictSink]:
    async with StrictSink() as made:
        yield made


@pytest.fixture
async def relay(start_relay: Start) -> Relay:
    """Listening on the links' side, too."""
    found = await start_relay()
    await found.stop()
    made = await start_relay("field", RTMP__LISTEN=f"0.0.0.0:{found.rtmp_port}", ARCHIVE__SEGMENT_S=2)
    made.rtmp_port = found.rtmp_port
    return made


async def on_air(relay: Relay, sink: StrictSink, link: Link, **fields: object) -> Phone:
    """A phone that is live on ``talk``, whose destination ``strict`` is live."""
    channel = await relay.add_channel("talk")
    await relay.add_destination("talk", "strict", sink.url, "strict-key-1", **fields)
    port = relay.rtmp_port
    clip = await asyncio.to_thread(clips.make, PHONE)
    phone = Phone(f"rtmp://{link.host}:{port}/live/{channel['stream_key']}", clip, link)
    await phone.dial()
    await relay.wait_destination("talk", "strict", "live")
    await asyncio.sleep(2)
    return phone


def stored(relay: Relay, recording: dict[str, object]) -> Recording:
    return read_folder(relay.data / "archive" / "talk" / str(recording["id"]))


def check_whole(phone: Phone, recording: Recording) -> list[Item]:
    """Nothing in the archive that was not sent, in the order it was sent, nothing twice; the items kept."""
    kept = recording.listing().items
    for track in ("video", "audio"):
        sent = [item.digest for item in phone.sent.track(track)]
        got = [item.digest for item in kept if item.track == track]
        at = 0
        for item_digest in got:
            while at < len(sent) and sent[at] != item_digest:
                at += 1
            assert at < len(sent), f"{track}: something that was not sent, or not in this order"
            at += 1
    return kept


async def test_a_phone_that_changes_its_address_takes_over_at_once(relay: Relay, sink: StrictSink, link: Link) -> None:
    """The old socket is silent and nobody closed it; then it wakes up, and is told to go."""
    phone = await on_air(relay, sink, link)
    first_address = link.address
    link.move(11)
    await phone.redial()
    old = phone.publishers[0]
    assert phone.accepted_s[-1] <= 5.0, "and not when the old one is given up"
    await asyncio.sleep(3)
    held = await relay.channel("talk")
    assert (held["state"], held["takeovers"], held["is_contested"]) == ("live", 1, False)
    link.inside("ip", "addr", "add", f"{first_address}/24", "dev", link.device)
    for number in range(100):
        if old.ended is not None:
            break
        old.send_tag(VIDEO, 600_000 + number, b"\x27\x01\0\0\0late%d" % number)
        await asyncio.sleep(0.05)
    assert old.ended is not None, "it is told to go"
    await phone.close()
    recording = await relay.recording("talk")
    kept = stored(relay, recording)
    assert max(item.dts_ms for item in kept.listing().items) < 60_000, "nothing of what it sent is interleaved"
    assert sink.broken == []
    assert len(sink.of("strict-key-1")) == 1
    gaps = (await relay.api("GET", f"/recordings/{recording['id']}/gaps"))["gaps"]
    assert all(gap["reason"] == "link lost" and gap["length_s"] < 8 for gap in gaps[:1])
    assert len(gaps) <= 1


async def test_outages_leave_one_recording_and_one_connection(relay: Relay, sink: StrictSink, link: Link) -> None:
    """On a link that carries 300 kbit/s and loses one packet in twenty, when it is there at all."""
    link.slow(300)
    link.lose(0.05)
    phone = await on_air(relay, sink, link)
    away: list[float] = []
    for outage_s in OUTAGES_S:
        link.cut()
        started = time.monotonic()
        await phone.stop()
        await asyncio.sleep(outage_s)
        link.mend()
        await phone.redial()
        away.append(time.monotonic() - started)
        await asyncio.sleep(BETWEEN_S)
    await phone.close()
    recording = await relay.recording("talk")
    assert sink.broken == []
    arrival = sink.only("strict-key-1")
    assert arrival.goodbye
    assert len((await relay.api("GET", "/recordings?channel=talk"))["recordings"]) == 1
    kept = stored(relay, recording)
    check_whole(phone, kept)
    gaps = (await relay.api("GET", f"/recordings/{recording['id']}/gaps"))["gaps"]
    assert len(gaps) == len(OUTAGES_S)
    for gap, missed_s in zip(gaps, away, strict=True):
        assert gap["length_s"] == pytest.approx(missed_s, abs=GOP_S), gaps
        assert gap["reason"] == "link lost"
    assert sum(kept.gaps_s) == pytest.approx(sum(gap["length_s"] for gap in gaps), abs=0.05)
    metrics = await relay.metrics()
    assert metrics['relay_archive_gap_seconds_total{reason="link lost"}'] == pytest.approx(sum(kept.gaps_s), abs=0.05)
    held_s = metrics['relay_hold_seconds_total{channel="talk"}']
    assert sum(max(0.0, missed_s - 6) for missed_s in away) <= held_s <= sum(away) + 1  # noticed after 5 s of silence
    await decode(relay.data / "archive" / "talk" / recording["id"] / "index.m3u8", "-allowed_extensions", "ALL")
    check_sync(kept.listing().items, phone)


def check_sync(kept: list[Item], phone: Phone) -> None:
    """Sound and picture are as far apart as they were sent, on every connection, within a frame of each."""
    where = {item.digest: item.dts_ms for item in kept}
    for publisher in phone.publishers:
        moved = {
            track: {where[item.digest] - item.dts_ms for item in publisher.sent.track(track) if item.digest in where}
            for track in ("video", "audio")
        }
        if moved["video"] and moved["audio"]:
            assert max(map(max, moved.values())) - min(map(min, moved.values())) <= 55, moved


async def test_a_hold_ends_at_its_limit_and_starts_afresh(relay: Relay, sink: StrictSink, link: Link) -> None:
    limit_s, outage_s = (120.0, 600.0) if clips.FULL else (4.0, 10.0)
    phone = await on_air(relay, sink, link, hold={"mode": "freeze", "limit_s": limit_s})
    link.cut()
    await phone.stop()
    await relay.wait_channel("talk", "holding", 15)
    started = time.monotonic()
    first = sink.only("strict-key-1")
    while not first.goodbye:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert time.monotonic() - started == pytest.approx(limit_s, abs=5)
    await asyncio.sleep(max(0.0, outage_s - (time.monotonic() - started)))
    link.mend()
    await phone.redial()
    returned = time.monotonic()
    while len(sink.of("strict-key-1")) < 2 or not sink.of("strict-key-1")[1].listing.items:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert time.monotonic() - returned <= 10.0
    await asyncio.sleep(3)
    await phone.close()
    assert sink.broken == []
    assert len((await relay.api("GET", "/recordings?channel=talk"))["recordings"]) == 1


@pytest.mark.parametrize("track", ["video", "audio"])
async def test_a_track_that_starves_is_stood_in_for(track: str, relay: Relay, sink: StrictSink, link: Link) -> None:
    phone = await on_air(relay, sink, link)
    phone.muted = VIDEO if track == "video" else AUDIO
    started_ms = phone.sent.items[-1].dts_ms
    await asyncio.sleep(STARVE_S)
    phone.muted = 0
    await asyncio.sleep(5)
    await phone.close()
    assert sink.broken == []
    arrival = sink.only("strict-key-1")
    filler = [item.dts_ms for item in arrival.listing.track(track) if 5000 < item.dts_ms - started_ms < STARVE_S * 1000]
    steps = sorted(later - earlier for earlier, later in pairwise(filler))
    assert steps[len(steps) // 2] <= 600, "twice a second"
    assert steps[-1] <= 4000, "also while the machine has other things to do"
    kept = stored(relay, await relay.recording("talk"))
    check_whole(phone, kept)


async def test_a_phone_that_turns_is_one_change(relay: Relay, sink: StrictSink, link: Link) -> None:
    channel = await relay.add_channel("talk")
    async with StrictSink() as other:
        await relay.add_destination("talk", "strict", sink.url, "strict-key-1", on_change="reconnect")
        await relay.add_destination("talk", "made", other.url, "made-key-1", on_change="transcode")
        port = relay.rtmp_port
        clip = await asyncio.to_thread(clips.make_resized)
        url = f"rtmp://{link.host}:{port}/live/{channel['stream_key']}"
        async with Publisher(url, dial=link.socket) as publisher:
            await publisher.send(clip)
        recording = await relay.recording("talk")
        assert sink.broken == []
        assert other.broken == []
        assert len(sink.of("strict-key-1")) == 2, "one connection for each size"
        assert len(other.of("made-key-1")) == 1, "and one that sees no change"
    kept = stored(relay, recording)
    assert sum(part.discontinuity for part in kept.parts) == 1
    assert len({part.init_name for part in kept.parts}) == 2


async def test_old_connections_that_wake_up_write_nothing(relay: Relay, sink: StrictSink) -> None:
    """Again and again: the link is taken over, and the one who had it sends on, some seconds later."""
    runs = 100 if clips.FULL else 3
    channel = await relay.add_channel("talk")
    await relay.add_destination("talk", "strict", sink.url, "strict-key-1")
    media = list(tags((await asyncio.to_thread(clips.make, clips.LOAD)).read_bytes()))[:120]
    publishers: list[Publisher] = []
    for run in range(runs):
        publisher = Publisher(relay.publish_url(channel), with_metadata=False)
        await publisher.open()
        publishers.append(publisher)
        await publisher.send_tags(media)
        await asyncio.sleep(2.1)  # silent, it may be taken over as often as anybody likes
        for old in publishers[:-1][-3:]:
            for number in range(5):
                if old.ended is None:
                    old.send_tag(VIDEO, 60_000 + number, b"\x27\x01\0\0\0late%d" % run)
        await asyncio.sleep(0.3)
    assert all(old.ended is not None for old in publishers[:-1])
    await publishers[-1].close()
    for old in publishers[:-1]:
        await old.abort()
    late = {digest(b"late%d" % run) for run in range(runs)}
    kept = {item.digest for item in stored(relay, await relay.recording("talk")).listing().items}
    seen = {item.digest for item in sink.only("strict-key-1").listing.items}
    assert not late & (kept | seen)
    assert sink.broken == []
    assert (await relay.channel("talk"))["takeovers"] == runs - 1
