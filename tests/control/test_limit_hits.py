"""Limit hits: the doors' own and those that are counted as something else first."""

import asyncio
from pathlib import Path

import pytest

from relay.control.limit_hits import limit_hits
from relay.control.models import NewChannel, NewDestination
from tests.support.app import browsing, running_app
from tests.support.publisher import Publisher, Refused
from tests.support.sink import Behaviour, Sink


async def test_every_kind_of_hit_has_its_name(tmp_path: Path) -> None:
    limits = {"auth_failures_per_minute": 2, "dial_s": 0.3, "retry_first_s": 0.1, "chunk_size_min": 5000}
    async with (
        Sink(Behaviour(handshake=False)) as mute,
        running_app(tmp_path, limits=limits) as app,
        browsing(app) as browser,
    ):
        base = f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/"
        key = app.control.channel("demo").stream_key
        for _ in range(3):
            with pytest.raises(Refused):
                await Publisher(f"{base}guess", chunk_size=6000).open()
        await app.control.add_destination("demo", NewDestination(name="mute", url=mute.url, key="a-key-of-the-test"))
        assert key
        found = limit_hits(app.budget.hits, app.admission, app.egress, app.pulls, app.archive, ["demo"])
        assert found["auth_failures"] == 1
        with pytest.raises((Refused, ConnectionError, TimeoutError)):
            await Publisher(f"{base}guess", chunk_size=4000).open(5)
        async with asyncio.timeout(10):
            while not app.budget.hits["chunk_size"]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)
        assert app.archive is not None
        app.archive.stats.refused += 1
        _, text, _ = await browser.ask("GET", "/metrics")
        for limit, count in (("auth_failures", 1), ("chunk_size", 1), ("spool_reserve", 1), ("backlog", 0)):
            assert f'relay_limit_hits_total{{limit="{limit}"}} {count}.0' in text


async def test_metrics_stay_within_their_series_however_many_channels(tmp_path: Path) -> None:
    limits = {"metric_series": 2000}
    async with running_app(tmp_path, limits=limits, archive={"store": "off"}) as app, browsing(app) as browser:
        for number in range(40):
            await app.control.create_channel(NewChannel(name=f"c{number:02}"))
            for place in range(2):
                wanted = NewDestination(name=f"d{place}", url="rtmp://192.0.2.1/live", key="a-key-of-the-test")
                await app.control.add_destination(f"c{number:02}", wanted)
        _, text, _ = await browser.ask("GET", "/metrics")
        series = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert len(series) <= 2000
        shown = {line for line in series if line.startswith("relay_channel_live{")}
        assert 10 <= len(shown) < 41
        assert 'relay_limit_hits_total{limit="metric_series"} 1.0' in text
