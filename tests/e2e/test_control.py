"""The relay steered while live: channels, keys, destinations and what metrics say, over the real API."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.listing import assert_same
from tests.support.process import Processes
from tests.support.publisher import Publisher, Refused
from tests.support.relay import ApiError, Relay
from tests.support.sink import Sink


@pytest.fixture
async def clip() -> Path:
    return await asyncio.to_thread(clips.make, clips.LOAD)


async def test_destinations_come_and_go_while_live(relay: Relay, clip: Path) -> None:
    """Adding, disabling, enabling and removing one never touches the other."""
    channel = await relay.add_channel("talk")
    async with Sink() as steady, Sink() as moving:
        await relay.add_destination("talk", "steady", steady.url, "steady-key-1")
        async with Publisher(relay.publish_url(channel)) as publisher:
            sending = asyncio.create_task(publisher.send(clip))
            await relay.wait_destination("talk", "steady", "live")
            await relay.add_destination("talk", "moving", moving.url, "moving-key-1")
            await relay.wait_destination("talk", "moving", "live")
            await _until(lambda: len(moving.connections[0].order) >= 4)
            await relay.api("PATCH", "/channels/talk/destinations/moving", {"enabled": False})
            await relay.wait_destination("talk", "moving", "disabled")
            await _until(lambda: moving.connections[0].closed_at is not None)
            assert len(moving.connections) == 1
            await relay.api("PATCH", "/channels/talk/destinations/moving", {"enabled": True})
            await relay.wait_destination("talk", "moving", "live")
            await _until(lambda: len(moving.connections[1].order) >= 4)
            await relay.api("DELETE", "/channels/talk/destinations/moving")
            assert [item["name"] for item in (await relay.channel("talk"))["destinations"]] == ["steady"]
            await _until(lambda: all(arrival.closed_at for arrival in moving.connections))
            await sending
        await _until(lambda: steady.only("steady-key-1").closed_at is not None)
    assert_same(publisher.sent, steady.only("steady-key-1").listing, "steady", late_ms=4000)
    assert len(moving.connections) == 2
    for arrival in moving.connections:
        assert arrival.order[:4] == ["metadata", "video header", "audio header", "keyframe"], arrival
        assert arrival.goodbye, "a destination taken away is left with a goodbye"


async def test_rotating_the_key_puts_the_publisher_out(relay: Relay, clip: Path) -> None:
    """The old key stops working at once, the publisher on it is told, the new key works."""
    channel = await relay.add_channel("talk")
    async with Publisher(relay.publish_url(channel)) as publisher:
        sending = asyncio.create_task(publisher.send(clip))
        await relay.wait_channel("talk", "live")
        rotated = await relay.api("POST", "/channels/talk/rotate-key")
        relay.keys.add(rotated["stream_key"])
        assert rotated["stream_key"] != channel["stream_key"]
        with pytest.raises(ConnectionError):
            await sending
    with pytest.raises(Refused):
        await Publisher(relay.publish_url(channel)).open()
    async with Publisher(relay.publish_url(rotated)) as publisher:
        await publisher.send(clip, until_ms=2000)


async def test_a_deleted_channel_takes_its_publisher_along(relay: Relay, clip: Path) -> None:
    channel = await relay.add_channel("talk")
    publisher = Publisher(relay.publish_url(channel))
    await publisher.open()
    sending = asyncio.create_task(publisher.send(clip))
    await relay.wait_channel("talk", "live")
    await relay.api("DELETE", "/channels/talk")
    with pytest.raises(ConnectionError):
        await sending
    await publisher.abort()
    with pytest.raises(ApiError) as refused:
        await relay.channel("talk")
    assert refused.value.status == 404


async def test_ffmpeg_shows_why_a_wrong_key_was_refused(relay: Relay, processes: Processes, clip: Path) -> None:
    """The encoder's user reads the reason; the metrics count it; nothing of the key is in a log."""
    channel = await relay.add_channel("talk")
    wrong = channel["stream_key"][:-4] + "zzzz"
    relay.keys.add(wrong)
    for program in (clips.DEBIAN_FFMPEG, clips.new_ffmpeg()):
        url = f"rtmp://127.0.0.1:{relay.rtmp_port}/live/{wrong}"
        refused = processes.start(
            program, "-hide_banner", "-nostdin", "-re", "-i", clip, "-c", "copy", "-f", "flv", url, name="ffmpeg"
        )
        assert await refused.wait(20) != 0, refused.tail()
        assert "wrong key" in refused.text(), refused.tail()
    metrics = await relay.metrics()
    outcomes = {name: value for name, value in metrics.items() if "relay_publisher_connects_total" in name}
    assert any(value == 2 and "live" not in name and "accepted" not in name for name, value in outcomes.items()), (
        outcomes
    )


async def test_one_key_published_twice_goes_to_the_newcomer(relay: Relay, clip: Path) -> None:
    channel = await relay.add_channel("talk")
    first = Publisher(relay.publish_url(channel))
    await first.open()
    sending = asyncio.create_task(first.send(clip))
    await relay.wait_channel("talk", "live")
    async with Publisher(relay.publish_url(channel)) as second:
        await second.send(clip, until_ms=3000)
        with pytest.raises(ConnectionError):
            await sending
    await first.abort()


@pytest.mark.parametrize(
    "address",
    ["live/{key}", "live/{key}/", "live?key={key}", "live/stream?key={key}", "app/live/{key}", "live//{key}"],
)
async def test_publish_addresses_as_encoders_write_them(relay: Relay, clip: Path, address: str) -> None:
    channel = await relay.add_channel("talk")
    url = f"rtmp://127.0.0.1:{relay.rtmp_port}/" + address.format(key=channel["stream_key"])
    async with Publisher(url) as publisher:
        await publisher.send(clip, until_ms=300)
        await relay.wait_channel("talk", "live")


async def test_metrics_carry_real_values(relay: Relay, clip: Path) -> None:
    """Every name the README promises is there, and what can be known from outside is right."""
    channel = await relay.add_channel("talk")
    async with Sink() as sink:
        await relay.add_destination("talk", "sink", sink.url, "sink-key-0001")
        async with Publisher(relay.publish_url(channel)) as publisher:
            await publisher.send(clip, until_ms=8500)
            await relay.wait_destination("talk", "sink", "live")
            await asyncio.sleep(0.4)
            live = await relay.metrics()
            video, audio = (len(publisher.sent.track(name)) for name in ("video", "audio"))
            assert live['relay_channel_live{channel="talk"}'] == 1
            assert live['relay_ingest_packets_total{channel="talk",track="video"}'] == video
            assert live['relay_ingest_packets_total{channel="talk",track="audio"}'] == audio
            assert live['relay_ingest_keyframe_interval_seconds{channel="talk"}'] == pytest.approx(2, abs=0.05)
            assert 0 <= live['relay_ingest_arrival_lag_seconds{channel="talk"}'] < 2
            assert 0 < live['relay_ingest_tcp_rtt_seconds{channel="talk"}'] < 1
            assert live['relay_ingest_bytes_total{channel="talk"}'] >= publisher.bytes_sent
            assert live['relay_publisher_connects_total{channel="talk",outcome="accepted"}'] == 1
            assert live['relay_destination_up{channel="talk",destination="sink"}'] == 1
            sent = live['relay_destination_bytes_total{channel="talk",destination="sink"}']
            assert 0.9 * publisher.bytes_sent < sent < 1.2 * publisher.bytes_sent
            assert live['relay_destination_backlog_seconds{channel="talk",destination="sink"}'] == 0
            assert live["relay_archive_spool_bytes"] > 0
            assert live["relay_event_loop_lag_seconds_count"] > 0
        recording = await relay.recording("talk")
        await relay.wait_destination("talk", "sink", "idle")
        after = await relay.metrics()
    assert after['relay_channel_live{channel="talk"}'] == 0
    assert after['relay_destination_up{channel="talk",destination="sink"}'] == 0
    assert after['relay_archive_segments_total{state="stored"}'] == recording["segments"]
    assert after["relay_archive_stored_bytes_total"] >= recording["bytes"] > 0
    assert after["relay_archive_oldest_unstored_seconds"] == 0
    assert sum(value for name, value in after.items() if "relay_destination_attempts_total{" in name) >= 1
    names = {name.split("{")[0] for name in after}
    assert "relay_build_info" in names
    for name in ("relay_destination_dropped_packets_total", "relay_archive_store_errors_total"):
        assert sum(value for sample, value in after.items() if sample.split("{")[0] == name) == 0


async def test_sigterm_while_live_ends_everything_in_order(start_relay: Start, clip: Path) -> None:
    """The publisher is told, destinations get a goodbye, the recording is complete after the next start."""
    relay = await start_relay()
    channel = await relay.add_channel("talk")
    async with Sink() as sink:
        await relay.add_destination("talk", "sink", sink.url, "sink-key-0001")
        publisher = Publisher(relay.publish_url(channel))
        await publisher.open()
        sending = asyncio.create_task(publisher.send(clip))
        await relay.wait_destination("talk", "sink", "live")
        await asyncio.sleep(3)
        await relay.stop(10)
        with pytest.raises(ConnectionError) as told:
            await sending
        await publisher.abort()
        await _until(lambda: sink.only("sink-key-0001").closed_at is not None)
    assert "shut" in str(told.value).lower() or "stop" in str(told.value).lower(), told.value
    assert sink.only("sink-key-0001").goodbye
    started = time.monotonic()
    await relay.start()
    assert time.monotonic() - started < 20
    again = await relay.channel("talk")
    assert again["stream_key"] == channel["stream_key"]
    assert [item["name"] for item in again["destinations"]] == ["sink"]
    recording = await relay.recording("talk")
    assert recording["duration_s"] > 2


async def test_the_api_refuses_strangers_and_shows_its_description(relay: Relay) -> None:
    for path in ("/api/v1/channels", "/api/v1/recordings"):
        for token in (None, "wrong"):
            with pytest.raises(ApiError) as refused:
                await relay.fetch(path, token=token)
            assert refused.value.status == 401
    description = await relay.fetch("/api/v1/openapi.json", token=relay.token)
    assert b"/api/v1/channels/{name}/rotate-key" in description
    assert (relay.data / "admin.token").stat().st_mode & 0o777 == 0o600


async def _until(done: object, within: float = 15.0) -> None:
    assert callable(done)
    until = time.monotonic() + within
    while not done():
        assert time.monotonic() < until, "it never happened"
        await asyncio.sleep(0.05)
