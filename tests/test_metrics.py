"""Metrics: every promised name with real values behind it, labels of configured names only."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from relay.control.webhooks import NewWebhook
from relay.hub import Ticker
from relay.metrics import LAG_BOUNDS_S, LoopLag
from tests.hooks.receiver import Receiver
from tests.support.app import browsing, running_app
from tests.support.clips import H264, make
from tests.support.publisher import Publisher, Refused

SECRET = "a-secret-of-the-test-1234"
PROMISED = {
    "relay_channel_live": {"channel"},
    "relay_channel_holding": {"channel"},
    "relay_channel_expected": {"channel"},
    "relay_hold_seconds": {"channel"},
    "relay_publisher_takeovers": {"channel"},
    "relay_ingest_bytes": {"channel"},
    "relay_ingest_kbps": {"channel", "window"},
    "relay_ingest_suggested_kbps": {"channel"},
    "relay_ingest_stalls": {"channel"},
    "relay_ingest_tcp_out_of_order_packets": {"channel"},
    "relay_ingest_lint": {"channel", "rule"},
    "relay_fit_cpu_seconds": {"channel"},
    "relay_fit_failures": {"channel"},
    "relay_fit_running": {"channel"},
    "relay_ingest_packets": {"channel", "track"},
    "relay_ingest_keyframe_interval_seconds": {"channel"},
    "relay_ingest_arrival_lag_seconds": {"channel"},
    "relay_ingest_tcp_rtt_seconds": {"channel"},
    "relay_publisher_connected": {"channel"},
    "relay_publisher_connects": {"channel", "outcome"},
    "relay_destination_up": {"channel", "destination"},
    "relay_destination_enabled": {"channel", "destination"},
    "relay_destination_bytes": {"channel", "destination"},
    "relay_destination_attempts": {"channel", "destination", "outcome"},
    "relay_destination_dropped_packets": {"channel", "destination", "reason"},
    "relay_destination_backlog_seconds": {"channel", "destination"},
    "relay_viewers": {"channel"},
    "relay_viewer_bytes": {"channel"},
    "relay_viewer_requests": {"channel", "kind"},
    "relay_viewer_kept_bytes": set(),
    "relay_archive_segments": {"state"},
    "relay_archive_stored_bytes": set(),
    "relay_archive_oldest_unstored_seconds": set(),
    "relay_archive_spool_bytes": set(),
    "relay_archive_disk_free_bytes": set(),
    "relay_archive_disk_size_bytes": set(),
    "relay_archive_disk_reserve_bytes": set(),
    "relay_archive_recordings_paused": set(),
    "relay_archive_gap_seconds": {"reason"},
    "relay_archive_store_errors": {"error"},
    "relay_event_loop_lag_seconds": set(),
    "relay_tasks": set(),
    "relay_build_info": {"version", "python"},
    "relay_console_info": {"url"},
    "process_cpu_seconds": set(),
    "process_resident_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
}


async def test_every_promised_metric_is_there_while_live(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make, H264)
    async with running_app(tmp_path) as app, browsing(app) as browser:
        base = f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/"
        await browser.ask(
            "POST",
            "/api/v1/channels/demo/destinations",
            json={"name": "dead", "url": "rtmp://127.0.0.1:9/a", "key": "k"},
        )
        off = {"name": "off", "url": "rtmp://127.0.0.1:9/b", "key": "k", "enabled": False}
        await browser.ask("POST", "/api/v1/channels/demo/destinations", json=off)
        await browser.ask("POST", "/api/v1/channels", json={"name": "later", "expected": True})
        try:
            await Publisher(base + "<script>wrong").open()
        except Refused:
            async with Publisher(base + app.control.channel("demo").stream_key) as publisher:
                await publisher.send(clip, speed=8.0)
                await asyncio.sleep(0.5)
                status, text, response = await browser.ask("GET", "/metrics", token="")
        assert status == 200
        assert response.content_type == "text/plain"
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert PROMISED.keys() <= families.keys()
        for name, labels in PROMISED.items():
            for sample in families[name].samples:
                assert set(sample.labels) - {"le"} == labels, sample
        values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in families.values()
            for sample in family.samples
        }
        assert values["relay_channel_live", "demo"] == 1
        assert values["relay_ingest_packets_total", "demo", "video"] > 300
        assert values["relay_ingest_keyframe_interval_seconds", "demo"] == 2.0
        assert (values["relay_channel_expected", "demo"], values["relay_channel_expected", "later"]) == (0, 1)
        assert (values["relay_publisher_connected", "demo"], values["relay_publisher_connected", "later"]) == (1, 0)
        assert values["relay_destination_up", "demo", "dead"] == 0
        assert values["relay_destination_enabled", "demo", "dead"] == 1
        assert values["relay_destination_enabled", "demo", "off"] == 0
        assert values["relay_destination_attempts_total", "demo", "dead", "connect"] >= 1
        assert values["relay_publisher_connects_total", "unknown", "bad_key"] == 1
        assert values["relay_archive_spool_bytes",] >= 0
        free, size = values["relay_archive_disk_free_bytes",], values["relay_archive_disk_size_bytes",]
        assert 0 < free <= size
        assert values["relay_console_info", f"http://127.0.0.1:{app.web.port}/"] == 1
        assert "<script" not in text


async def test_loop_lag_counts_every_sample_once() -> None:
    loop = asyncio.get_running_loop()
    lag = LoopLag(loop, Ticker(loop, 100))
    lag.start()
    await asyncio.sleep(0.35)
    lag.stop()
    late, *others = lag.families()
    samples = {(item.name, item.labels.get("le")): item.value for item in late.samples}
    count = samples["relay_event_loop_lag_seconds_count", None]
    assert 1 <= count <= 4
    assert samples["relay_event_loop_lag_seconds_bucket", "+Inf"] == count
    assert len(samples) == len(LAG_BOUNDS_S) + 3
    assert [(item.name, item.value) for family in others for item in family.samples] == [
        ("relay_tick_seconds", 0.1),
        ("relay_load_ratio", 0.0),
    ]


async def test_webhooks_are_counted_by_their_ids(tmp_path: Path) -> None:
    async with Receiver(SECRET) as receiver, running_app(tmp_path) as app, browsing(app) as browser:
        made = await app.control.webhooks.add(NewWebhook(url=receiver.url, secret=SECRET))
        app.hooks.tell("archive.safe")
        await receiver.names(1)
        until = asyncio.get_running_loop().time() + 10
        wanted = f'relay_webhook_events_total{{outcome="delivered",webhook="{made.id}"}} 1.0'
        while wanted not in (text := (await browser.ask("GET", "/metrics"))[1]):
            assert asyncio.get_running_loop().time() < until, text
            await asyncio.sleep(0.05)
        assert f'relay_webhook_waiting{{webhook="{made.id}"}} 0.0' in text
        assert SECRET not in text
        assert str(receiver.port) not in text
