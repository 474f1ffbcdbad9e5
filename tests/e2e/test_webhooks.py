"""Webhooks of a real relay: what happens to a stream, its destinations and its store is told, in order, signed."""

import shutil
from pathlib import Path

from tests.e2e.conftest import Start
from tests.e2e.test_streamer import encode
from tests.hooks.receiver import Receiver
from tests.support.process import Processes, free_port
from tests.support.relay import Relay
from tests.support.sink import Sink

SECRET = "a-secret-of-the-test-1234"


async def test_a_stream_lost_and_back_and_a_destination_broken_and_mended(relay: Relay, processes: Processes) -> None:
    channel = await relay.add_channel("talk")
    port = free_port()
    async with Receiver(SECRET) as receiver:
        relay.keys |= {SECRET, "part-of-the-secret"}
        await relay.api("POST", "/webhooks", {"url": receiver.url, "channel": "talk", "secret": SECRET})
        await relay.add_destination("talk", "mine", f"rtmp://127.0.0.1:{port}/app", "k-1234567890")
        film = encode(processes, relay.publish_url(channel))
        failed = await receiver.until("destination.failed")
        assert failed["data"]["destination"] == "mine"
        assert "cannot connect" in failed["data"]["reason"]
        async with Sink(port=port):
            await receiver.until("destination.recovered")
            film.kill()
            await receiver.until("channel.holding")
            again = encode(processes, relay.publish_url(channel), "again")
            resumed = await receiver.until("channel.resumed")
            assert resumed["data"]["held_s"] > 0
            gap = await receiver.until("recording.gap")
            assert gap["data"]["length_s"] > 0.1
            again.signal(15)
            offline = await receiver.until("channel.offline")
            assert offline["data"]["said_goodbye"]
        names = [item["event"] for item in receiver.told]
        assert receiver.faults == []
        assert {item["channel"] for item in receiver.told} == {"talk"}
        order = [name for name in names if name.startswith("channel.")]
        assert order == ["channel.live", "channel.holding", "channel.resumed", "channel.offline"]
        [view] = (await relay.api("GET", "/webhooks"))["webhooks"]
        assert (view["delivered"], view["waiting"], view["dropped"]) == (len(names), 0, 0)


async def test_an_archive_whose_store_is_away_is_told_and_so_is_its_rescue(
    start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    relay = await start_relay(ARCHIVE__RESERVE_BYTES=0, ARCHIVE__RESERVE_PERCENT=0)
    channel = await relay.add_channel("talk")
    async with Receiver(SECRET) as receiver:
        events = ["archive.at_risk", "archive.safe"]
        await relay.api("POST", "/webhooks", {"url": receiver.url, "events": events, "secret": SECRET})
        store = relay.data / "archive" / "talk"
        if store.exists():
            shutil.rmtree(store)
        store.write_text("in the way")  # no folder can be made here
        film = encode(processes, relay.publish_url(channel))
        risk = await receiver.until("archive.at_risk")
        assert risk["channel"] is None
        assert risk["data"]["problems"]
        store.unlink()
        await receiver.until("archive.safe")
        assert [item["event"] for item in receiver.told] == events
        assert receiver.faults == []
        film.kill()
