"""One destination's trouble is its own: a stopped one costs the others nothing and the relay bounded memory."""

import asyncio
import signal
import time
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.counter import CounterProcess
from tests.support.listing import assert_same
from tests.support.load import repeat
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.recording import read_folder
from tests.support.sink import Behaviour, Sink

STOPPED_S = 60 if clips.FULL else 15
BACKLOG_BYTES = 1024 * 1024


async def test_a_stopped_destination_costs_the_others_nothing(start_relay: Start, processes: Processes) -> None:
    """SIGSTOP one of three sinks while live: the others get all, memory stays bounded, it recovers on SIGCONT."""
    relay = await start_relay(LIMITS__BACKLOG_BYTES=BACKLOG_BYTES, LIMITS__RETRY_MOST_S=2)
    channel = await relay.add_channel("talk")
    stopped, well, other = (CounterProcess(processes, name) for name in ("stopped", "well", "other"))
    for sink in (stopped, well, other):
        await sink.ready()
        await relay.add_destination("talk", sink.process.name, sink.url, f"key-{sink.process.name}-1")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Publisher(relay.publish_url(channel)) as publisher:
        sending = asyncio.create_task(repeat(publisher, clip, STOPPED_S + 20))
        for sink in (stopped, well, other):
            await relay.wait_destination("talk", sink.process.name, "live")
        # The first segment loads the packager's libraries; what comes after is this destination's doing.
        await relay.recording("talk", "recording")
        await asyncio.sleep(1)
        before = relay.memory()
        stopped.process.signal(signal.SIGSTOP)
        until = time.monotonic() + STOPPED_S
        peak = before
        while time.monotonic() < until:
            await asyncio.sleep(0.25)
            peak = max(peak, relay.memory())
            for sink in (well, other):
                state = await relay.destination("talk", sink.process.name)
                assert state["state"] == "live", state
                assert state["dropped_packets"] == 0, state
        ill = await relay.destination("talk", "stopped")
        stopped.process.signal(signal.SIGCONT)
        await relay.wait_destination("talk", "stopped", "live", 30)
        await sending
    # Beside the backlog's own bytes: the transport's buffer, objects around the media, what an allocator keeps.
    assert peak - before < 2 * BACKLOG_BYTES + 4 * 1024 * 1024, f"grew by {peak - before} bytes"
    assert ill["state"] in ("retrying", "connecting", "live"), ill
    recording = await relay.recording("talk")
    archive = read_folder(relay.data / "archive" / "talk" / recording["id"]).listing()
    assert_same(publisher.sent, archive, "archive")
    for sink in (well, other):
        arrivals = (await sink.finish())[f"key-{sink.process.name}-1"]
        assert len(arrivals) == 1, f"{sink.process.name} was connected {len(arrivals)} times"
        assert_same(publisher.sent, arrivals[0]["listing"], sink.process.name, late_ms=4000)
    arrivals = (await stopped.finish())["key-stopped-1"]
    for arrival in arrivals:
        _assert_starts_well(arrival["order"])
    sent = {item.digest for item in publisher.sent.items}
    assert all(item.digest in sent for arrival in arrivals for item in arrival["listing"].items)


def _assert_starts_well(order: list[str]) -> None:
    """INV-6: after each connect metadata, then sequence headers, then a keyframe."""
    if order:
        assert order[:4] == ["metadata", "video header", "audio header", "keyframe"], order


@dataclass
class Trouble:
    """A way for a destination to misbehave, and the states the relay may show for it meanwhile."""

    name: str
    behaviour: Behaviour
    least_connections: int = 1


TROUBLES = [
    Trouble("never-handshakes", Behaviour(handshake=False)),
    Trouble("never-answers-publish", Behaviour(answer_publish=False)),
    Trouble("closes-every-second", Behaviour(close_after_s=1.0), 2),
    Trouble("resets", Behaviour(close_after_s=1.0, reset=True), 2),
    Trouble("refuses-the-key", Behaviour(refuse=lambda app, name: "Stream key is not valid")),
    Trouble("reads-slowly", Behaviour(bytes_per_s=20_000)),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
async def test_a_misbehaving_destination_leaves_a_good_one_whole(trouble: Trouble, start_relay: Start) -> None:
    """The good sink gets everything over one connection; the bad one's fault is visible in the API."""
    relay = await start_relay(LIMITS__DIAL_S=1, LIMITS__RETRY_FIRST_S=0.2, LIMITS__RETRY_MOST_S=0.5)
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.LOAD)
    async with Sink() as good, Sink(trouble.behaviour) as bad:
        await relay.add_destination("talk", "good", good.url, "good-key-0001")
        await relay.add_destination("talk", "bad", bad.url, "bad-key-00001")
        async with Publisher(relay.publish_url(channel)) as publisher:
            await publisher.send(clip, until_ms=6000)
            seen = await relay.destination("talk", "bad")
        deadline = time.monotonic() + 15
        while not good.of("good-key-0001") or good.of("good-key-0001")[0].closed_at is None:
            assert time.monotonic() < deadline, "the good sink never saw the end"
            await asyncio.sleep(0.05)
        arrival = good.only("good-key-0001")
    assert_same(publisher.sent, arrival.listing, "good sink", late_ms=4000)
    assert len(bad.connections) >= trouble.least_connections, f"{len(bad.connections)} connections"
    assert seen["attempts"] >= trouble.least_connections, seen
    for bad_arrival in bad.of("bad-key-00001"):
        _assert_starts_well(bad_arrival.order)
    if trouble.name not in ("reads-slowly",):
        assert seen["last_error"], seen
    if trouble.name == "refuses-the-key":
        assert "Stream key is not valid" in seen["last_error"], seen
        assert len(bad.connections) <= 2, "a rejected key must slow the attempts down"
