"""Links: who publishes and how the link does, whichever door the media comes through."""

import asyncio

import pytest
from structlog.testing import capture_logs

from relay.errors import RefusedError
from relay.hub import Hub, Load
from relay.ingest.admission import Admission
from relay.ingest.base import PublisherInfo
from relay.ingest.health import UNKNOWN
from relay.ingest.links import Links
from tests.hub.media import video


class Encoder:
    """A publisher of the hub that says who it is."""

    def evicted(self, reason: str) -> None:
        """Goes."""

    def committed(self, seq: int) -> None:
        """Notes nothing."""

    def info(self) -> PublisherInfo:
        return PublisherInfo("test", "192.0.2.1", "", False, 0.0, 0, None)


async def test_publishers_and_health_follow_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.ingest.links.SAMPLE_S", 0.02)
    hub = Hub()
    links = Links(hub, Admission())
    links.start()
    assert (links.publisher("demo"), links.health("demo")) == (None, UNKNOWN)
    lease = hub.publish("demo", Encoder())
    lease.write([video(0, key=True)])
    links.bytes_received["demo"] += 1000
    info = links.publisher("demo")
    assert info is not None
    assert info.protocol == "test"
    async with asyncio.timeout(20):
        while links.health("demo") is UNKNOWN:  # noqa: ASYNC110 - a timer of its own, without an event
            await asyncio.sleep(0.01)
    lease.stalled()
    assert links.health("demo").quality == "poor"
    lease.write([video(40)])
    assert links.health("demo").stalls == 1
    lease.release(clean=True)
    assert (links.publisher("demo"), links.health("demo")) == (None, UNKNOWN)
    links.close()


async def test_a_contest_is_counted() -> None:
    hub, admission = Hub(), Admission()
    links = Links(hub, admission)
    for number in range(5):
        hub.publish("demo", Encoder()).write([video(40 * number, key=True)])
    with pytest.raises(RefusedError, match="both keep taking over"):
        links.admit("demo")
    assert admission.outcomes["demo", "contested"] == 1
    hub.end("demo")


async def test_near_the_capacity_is_said_once_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.ingest.links.SAMPLE_S", 0.01)
    monkeypatch.setattr(Load, "ratio", 0.8)
    links = Links(Hub(load=Load(1.0)), Admission())
    with capture_logs() as said:
        links.start()
        await asyncio.sleep(0.1)
        monkeypatch.setattr(Load, "ratio", 0.65)
        await asyncio.sleep(0.1)
        monkeypatch.setattr(Load, "ratio", 0.5)
        await asyncio.sleep(0.1)
        links.close()
    assert [(entry["log_level"], entry["used_percent"]) for entry in said] == [("warning", 80), ("info", 50)]
