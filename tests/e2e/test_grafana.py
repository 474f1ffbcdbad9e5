"""Every query of the dashboards has an answer: Prometheus and rules of deploy/, a relay, ffmpeg, and some trouble."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Start
from tests.support import clips, s3
from tests.support.dashboards import Query, boards, filled, label_values, queries
from tests.support.process import Process, Processes, free_port
from tests.support.prometheus import Prometheus
from tests.support.publisher import Publisher, Refused
from tests.support.relay import Relay
from tests.support.sink import Sink

WITHIN_S = 90.0


def publish(processes: Processes, clip: Path, url: str) -> Process:
    """ffmpeg sending the clip again and again in real time."""
    words = (clips.DEBIAN_FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-stream_loop", "-1")
    return processes.start(*words, "-i", clip, "-c", "copy", "-f", "flv", url, name="ffmpeg")


async def trouble(processes: Processes, relay: Relay, store: s3.S3Server, clip: Path, url: str) -> None:
    """A wrong key, a visitor who says nothing, an encoder that is cut off and returns, and a store that dies."""
    try:
        await Publisher(f"rtmp://127.0.0.1:{relay.rtmp_port}/live/{'wrong' * 8}").open()
    except Refused:
        _, silent = await asyncio.open_connection("127.0.0.1", relay.rtmp_port)
    first = publish(processes, clip, url)
    await relay.wait_channel("rally", "live")
    await relay.wait_destination("rally", "good", "live")
    await until(relay, 'relay_archive_segments_total{state="stored"}')
    first.kill()
    await relay.wait_channel("rally", "holding")
    await asyncio.sleep(1)
    publish(processes, clip, url)
    await relay.wait_channel("rally", "live")
    await until(relay, 'relay_archive_gaps_total{reason="link lost"}')
    silent.close()
    store.kill()


async def until(relay: Relay, sample: str) -> None:
    """Wait until the relay counts more than nothing under this name."""
    limit = time.monotonic() + WITHIN_S
    while not (await relay.metrics()).get(sample):
        assert time.monotonic() < limit, f"{sample} stays 0"
        await asyncio.sleep(0.2)


async def variables(prometheus: Prometheus, board: dict[str, Any]) -> dict[str, str]:
    """Each variable of the dashboard with what Prometheus has for it: all of it, or the last by name."""
    values = {"datasource": "prometheus"}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = label_values(filled(variable["query"]["query"], values))
            found = await prometheus.ask(f"label/{label}/values", **{"match[]": selector})
            assert found, f"nothing for the variable {variable['name']}"
            values[variable["name"]] = "|".join(found) if variable["multi"] else found[-1]
    return values


async def test_every_query_of_every_dashboard_has_data(
    start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    clip = await asyncio.to_thread(clips.make, clips.H264)
    async with s3.serve(processes, tmp_path) as store, Sink() as sink:
        relay = await start_relay(**store.settings, ARCHIVE__SEGMENT_S=1, LIMITS__HANDSHAKE_S=1, LIMITS__RETRY_MOST_S=2)
        prometheus = Prometheus(processes, tmp_path / "prometheus", relay)
        await prometheus.start()
        channel = await relay.add_channel("rally", expected=True)
        # Twitch asks for more than this clip has: something that does not suit.
        await relay.add_destination("rally", "good", sink.url, "some-key", platform="twitch")
        await relay.add_destination("rally", "broken", f"rtmp://127.0.0.1:{free_port()}/app", "some-key")
        await trouble(processes, relay, store, clip, relay.publish_url(channel))
        limit = time.monotonic() + WITHIN_S
        missing: list[tuple[str, Query, dict[str, str]]] = []
        for name, board in boards().items():
            values = await variables(prometheus, board)
            missing += [(name, query, values) for query in queries(name, board)]
        assert len(missing) > 60
        while missing:
            missing = [item for item in missing if not await has_data(prometheus, item[1], item[2])]
            shown = json.dumps([f"{query.where}: {filled(query.expression, values)}" for _, query, values in missing])
            assert not missing or time.monotonic() < limit, f"no data for {shown}"
            await asyncio.sleep(0.5 if missing else 0)
        failing = await prometheus.values("destination:relay_destination_failing:bool == 1", instant=True)
        assert [item["metric"]["destination"] for item in failing] == ["broken"]
        problems = (await prometheus.ask("rules"))["groups"]
        assert [rule["lastError"] for group in problems for rule in group["rules"] if rule.get("lastError")] == []
        pending = {item["labels"]["alertname"] for item in (await prometheus.ask("alerts"))["alerts"]}
        assert "RelayDestinationDown" in pending
        assert not pending & {"RelayDown", "RelayChannelNotLive", "RelayKeyframeInterval"}


async def has_data(prometheus: Prometheus, query: Query, values: dict[str, str]) -> bool:
    """Whether it gives at least one number that is one."""
    found = await prometheus.values(filled(query.expression, values), instant=query.instant)
    numbers = [number for series in found for _, number in series.get("values", [series.get("value")])]
    return any(number not in ("NaN", "+Inf", "-Inf") for number in numbers)
