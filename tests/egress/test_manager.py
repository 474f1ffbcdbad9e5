"""The manager keeps what runs equal to what is configured, and one destination's change or fault its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationState, DestinationStatus, HoldConfig
from relay.egress.manager import EgressManager
from relay.hub import Hub
from relay.media import Packet
from relay.secret import Secret
from tests.egress.conftest import MakeSettings
from tests.egress.media import AUDIO, GOP, VIDEO, Programme, eventually, listing_of
from tests.support.process import free_port
from tests.support.sink import Behaviour, Sink
from tests.support.tls import make_certificates

LIVE, RETRYING = DestinationState.LIVE, DestinationState.RETRYING


class Desk:
    """A hub with one channel, its manager and its publisher."""

    def __init__(self, settings: Settings) -> None:
        self.hub = Hub(hold_s=60)
        self.manager = EgressManager(self.hub, settings)
        self.programme = Programme(self.hub)

    def configure(self, *configs: DestinationConfig) -> None:
        self.manager.configure("talk", configs)

    def __getitem__(self, name: str) -> DestinationStatus:
        return next(status for status in self.manager.status("talk") if status.name == name)

    async def until(self, state: DestinationState, *names: str) -> None:
        await self.programme.on_air(lambda: all(self[name].state is state for name in names))


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    made = Desk(settings)
    yield made
    made.programme.leave()
    await made.manager.close()


def to(sink: Sink, name: str = "a", **fields: object) -> DestinationConfig:
    return replace(DestinationConfig(name, sink.url, Secret(f"key-{name}")), **fields)  # type: ignore[arg-type]


async def test_destinations_live_as_long_as_the_stream(desk: Desk) -> None:
    async with Sink() as sink:
        desk.configure(to(sink), to(sink, "b"))
        await asyncio.sleep(0.05)
        assert sink.connections == []
        assert desk["a"].state is DestinationState.IDLE
        await desk.until(LIVE, "a", "b")
        desk.programme.frames(20)
        desk.programme.leave()
        await eventually(lambda: {desk["a"].state, desk["b"].state} == {DestinationState.IDLE})
        sent = listing_of(desk.programme.written).items
        for key in ("key-a", "key-b"):
            arrival = sink.only(key)
            assert arrival.goodbye
            assert arrival.listing.items == sent[-len(arrival.listing.items) :]
        status = desk["a"]
        assert status.attempts == 1
        assert status.outcomes == {"ended": 1}
        assert status.bytes_sent > 0
        assert status.dropped_packets == {"backlog": 0}


async def test_a_publisher_lost_and_back_is_one_connection(desk: Desk) -> None:
    async with Sink() as sink:
        desk.configure(to(sink))
        await desk.until(LIVE, "a")
        desk.programme.leave(clean=False)
        await asyncio.sleep(0.1)
        assert desk["a"].state is LIVE
        desk.programme.return_()
        desk.programme.frames(GOP)
        await eventually(lambda: len(sink.only("key-a").listing.items) > GOP)


async def test_a_stream_that_begins_again_at_once_is_sent_again(desk: Desk) -> None:
    """The next publisher comes while the last goodbye is still being said: it is not forgotten."""
    async with Sink() as sink:
        desk.configure(to(sink))
        await desk.until(LIVE, "a")
        desk.programme.leave()
        desk.programme.return_()
        desk.programme.frames(1)
        await eventually(lambda: len(sink.connections) == 2)
        first, second = sink.connections
        assert first.goodbye
        assert first.closed_at is not None
        assert first.closed_at <= second.opened_at
        await desk.until(LIVE, "a")
        assert desk["a"].attempts == 2


async def test_changes_while_live_touch_only_what_changes(desk: Desk) -> None:
    async with Sink() as sink, Sink() as other:
        keep, change, remove, disable = (to(sink, name) for name in ("keep", "change", "remove", "disable"))
        desk.configure(keep, change, remove, disable)
        await desk.until(LIVE, "keep", "change", "remove", "disable")
        sent = desk["change"].bytes_sent
        add = to(sink, "add")
        desk.configure(add, keep, replace(change, url=other.url), replace(disable, enabled=False))
        await desk.programme.on_air(lambda: other.of("key-change") and sink.of("key-add"))
        await desk.until(LIVE, "keep", "change", "add")
        assert [status.name for status in desk.manager.status("talk")] == ["add", "keep", "change", "disable"]
        assert desk["disable"].state is DestinationState.DISABLED
        for key in ("key-change", "key-remove", "key-disable"):
            await eventually(lambda key=key: sink.only(key).closed_at is not None)
            assert sink.only(key).goodbye
        assert desk["change"].bytes_sent >= sent
        assert desk["change"].attempts == 2
        desk.configure(add, keep, replace(change, url=other.url), disable)
        await desk.until(LIVE, "disable")
        assert len(sink.of("key-disable")) == 2
        desk.programme.leave()
        await eventually(lambda: sink.only("key-keep").closed_at is not None)
        kept = sink.only("key-keep").listing.items
        assert kept == listing_of(desk.programme.written).items[-len(kept) :]
        assert desk["keep"].dropped_packets == {"backlog": 0}


async def test_a_destination_added_while_live_starts_with_the_cached_keyframe(desk: Desk) -> None:
    desk.programme.frames(GOP + 3)
    async with Sink() as sink:
        desk.configure(to(sink))
        await eventually(lambda: desk["a"].state is LIVE and len(sink.only("key-a").listing.items) == 6)
        assert sink.only("key-a").order[:4] == ["metadata", "video header", "audio header", "keyframe"]


async def test_failures_are_retried_with_totals_kept_and_forgotten_on_change(desk: Desk) -> None:
    async with Sink(Behaviour(close_after_s=0.1)) as flaky, Sink() as sink:
        desk.configure(to(flaky))
        await desk.programme.on_air(lambda: desk["a"].attempts >= 3)
        status = desk["a"]
        assert "the connection" in status.last_error
        assert status.outcomes["closed"] >= 2
        assert all(arrival.order[0] == "metadata" for arrival in flaky.connections if arrival.order)
        desk.configure(to(sink))
        await desk.programme.on_air(lambda: sink.of("key-a"))
        await desk.until(LIVE, "a")
        assert desk["a"].last_error == ""
        assert desk["a"].attempts > status.attempts


async def test_a_rejected_key_is_not_tried_again_soon_and_a_new_one_is_at_once(desk: Desk) -> None:
    async with Sink(Behaviour(refuse=lambda app, name: "wrong key" if name == "key-a" else None)) as sink:
        with structlog.testing.capture_logs() as logs:
            desk.configure(to(sink))
            await desk.until(RETRYING, "a")
        assert "wrong key — check the stream key" in desk["a"].last_error
        assert desk["a"].outcomes == {"rejected": 1}
        failed = next(entry for entry in logs if entry["event"] == "destination failed")
        assert failed["next_try_s"] >= 30
        assert (failed["channel"], failed["destination"]) == ("talk", "a")
        desk.configure(to(sink, key=Secret("right")))
        await desk.until(LIVE, "a")


async def test_one_waiting_to_retry_ends_with_the_stream_and_when_removed(desk: Desk) -> None:
    nowhere = DestinationConfig("a", f"rtmp://127.0.0.1:{free_port()}/app", Secret("k"))
    async with Sink(Behaviour(refuse=lambda app, name: "no")) as sink:
        desk.configure(nowhere, to(sink, "b"))
        await desk.until(RETRYING, "b")
        desk.programme.leave()
        await eventually(lambda: desk["a"].state is desk["b"].state is DestinationState.IDLE)
        assert "Connection refused" in desk["a"].last_error
        desk.programme.return_()
        await desk.until(RETRYING, "b")
        desk.manager.remove("talk")
        assert desk.manager.status("talk") == []


async def test_the_tail_of_a_stream_that_is_over_is_sent_but_not_tried_again(desk: Desk) -> None:
    """A slow one gets its backlog after the end; one that breaks down over it is left alone."""
    slow, broken = Behaviour(bytes_per_s=3_000_000), Behaviour(stop_reading_after_s=0.1, close_after_s=3.0)
    async with Sink(slow) as patient, Sink(broken) as breaking:
        desk.configure(to(patient), to(breaking, "b"))
        await desk.until(LIVE, "a", "b")
        await desk.programme.on_air(lambda: desk["a"].backlog_s > 0 and desk["b"].backlog_s > 0, 20_000)
        desk.programme.leave()
        tried = desk["b"].attempts  # on a slow machine it may have been found stalled once before
        assert desk["a"].state is LIVE
        await eventually(lambda: desk["a"].state is desk["b"].state is DestinationState.IDLE, 30)
        await eventually(lambda: patient.only("key-a").closed_at is not None, 30)
        assert patient.only("key-a").listing.items[-1] == listing_of(desk.programme.written).items[-1]
        assert patient.only("key-a").goodbye
        assert sum(desk["b"].outcomes.values()) == tried  # closed, or found stalled first
        assert (desk["a"].attempts, desk["b"].attempts) == (1, tried)


async def test_a_goodbye_waits_for_a_platform_that_takes_its_time(make_settings: MakeSettings) -> None:
    """What is left in this process takes longer than GOODBYE_S, and all of it arrives."""
    desk = Desk(make_settings(write_stall_s=20.0))
    async with Sink(Behaviour(bytes_per_s=80_000, receive_bytes=65_536)) as patient:
        desk.configure(to(patient))
        await desk.until(LIVE, "a")
        await desk.programme.on_air(lambda: desk["a"].backlog_s > 0, 20_000)
        desk.programme.leave()
        await eventually(lambda: desk["a"].state is DestinationState.IDLE, 30)
        await eventually(lambda: patient.only("key-a").closed_at is not None, 30)
        assert patient.only("key-a").listing.items[-1] == listing_of(desk.programme.written).items[-1]
        await desk.manager.close()


async def test_a_private_address_is_refused_by_default(make_settings: MakeSettings) -> None:
    desk = Desk(make_settings(allow_private=False))
    desk.configure(DestinationConfig("a", "rtmp://127.0.0.1:1935/app", Secret("k")))
    await desk.programme.on_air(lambda: desk["a"].attempts > 1)
    assert desk["a"].outcomes["address"] >= 1
    assert "RELAY_OUTBOUND__ALLOW_PRIVATE=true" in desk["a"].last_error
    await desk.manager.close()


async def test_tls_settings_that_are_no_use_are_told_and_tried_again(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path / "made")
    path = tmp_path / "ca.pem"
    desk = Desk(make_settings(ca_file=path))
    async with Sink(tls=certificates.server_context()) as sink:
        desk.configure(to(sink), to(sink, "b"))
        await desk.programme.on_air(lambda: desk["a"].outcomes.get("config", 0) > 1)
        assert "RELAY_OUTBOUND__CA_FILE" in desk["a"].last_error
        path.write_bytes(certificates.authority.read_bytes())
        await desk.until(LIVE, "a", "b")
        desk.programme.leave()
        await desk.manager.close()


async def test_an_error_of_ours_is_logged_with_its_traceback_and_retried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **keywords: object) -> None:
        raise ZeroDivisionError("with key-a in it")

    monkeypatch.setattr("relay.egress.rtmp.ClientConnection", broken)
    async with Sink() as sink:
        with structlog.testing.capture_logs() as logs:
            desk.configure(to(sink))
            await desk.programme.on_air(lambda: desk["a"].attempts > 1)
    assert "ZeroDivisionError" in desk["a"].last_error
    assert "key-a" not in desk["a"].last_error
    failed = next(entry for entry in logs if entry["event"] == "destination failed")
    assert isinstance(failed["exc_info"], ZeroDivisionError)


async def test_drops_are_told_once_a_second_and_nothing_told_holds_a_key(make_settings: MakeSettings) -> None:
    desk = Desk(make_settings(backlog_bytes=100_000, write_stall_s=30))
    with structlog.testing.capture_logs() as logs:
        async with Sink(Behaviour(stop_reading_after_s=0.1)) as deaf, Sink() as well:
            desk.configure(to(deaf), to(well, "well"))
            await desk.until(LIVE, "a", "well")
            began = time.monotonic()
            await desk.programme.on_air(lambda: time.monotonic() - began > 2.5, 100_000)
            assert desk["a"].backlog_s >= 0
            assert desk["a"].dropped_packets["backlog"] > 0
            desk.programme.leave()
            await desk.manager.close()
    told = [entry for entry in logs if entry["event"].startswith("dropped packets to the next keyframe")]
    assert 1 <= len(told) <= 4
    assert all(entry["destination"] == "a" and entry["packets"] > 0 for entry in told)
    assert "key-" not in str(logs).replace("next keyframe", "")
    assert {entry["event"] for entry in logs} >= {"destination live", "destination ended"}


async def test_a_key_inside_the_url_is_not_shown(desk: Desk) -> None:
    async with Sink() as sink:
        desk.configure(DestinationConfig("a", f"{sink.url}/hidden-key"))
        await desk.until(LIVE, "a")
        assert sink.only("hidden-key").app == "sink"
        assert desk["a"].url == sink.url


async def test_close_says_goodbye_to_all_and_starts_nothing_more(settings: Settings) -> None:
    desk = Desk(settings)
    async with Sink() as sink:
        desk.configure(to(sink), to(sink, "b"))
        await desk.until(LIVE, "a", "b")
        await desk.manager.close()
        assert all(arrival.goodbye for arrival in sink.connections)
        desk.configure(to(sink, "c"))
        desk.programme.frames(1)
        await asyncio.sleep(0.05)
        assert len(sink.connections) == 2
        desk.programme.leave()


async def test_one_that_reads_nothing_does_not_hold_up_closing(make_settings: MakeSettings) -> None:
    desk = Desk(make_settings(write_stall_s=30))
    async with Sink(Behaviour(stop_reading_after_s=0.1)) as deaf:
        desk.configure(to(deaf))
        await desk.until(LIVE, "a")
        await desk.programme.on_air(lambda: desk["a"].backlog_s > 0, 200_000)
        async with asyncio.timeout(5):
            await desk.manager.close()
        desk.programme.leave()


async def test_a_destination_waits_its_own_time_and_starts_afresh(desk: Desk) -> None:
    async with Sink() as sink:
        desk.configure(to(sink, hold=HoldConfig(limit_s=0.8)), to(sink, "b"))
        await desk.until(LIVE, "a", "b")
        desk.programme.leave(clean=False)
        await eventually(lambda: sink.only("key-a").goodbye)
        assert desk["a"].state is DestinationState.IDLE
        count = len(sink.only("key-b").listing.items)
        await eventually(lambda: len(sink.only("key-b").listing.items) > count + 10)
        desk.configure(to(sink, hold=HoldConfig(limit_s=0.8)), to(sink, "b"))
        assert desk["a"].state is DestinationState.IDLE, "another look at the same configuration starts nothing"
        desk.programme.return_()
        await desk.until(LIVE, "a", "b")
        await eventually(lambda: len(sink.of("key-a")) == 2)
        again = sink.of("key-a")[1]
        await desk.programme.on_air(lambda: len(again.order) > 3)
        assert again.order[:4] == ["metadata", "video header", "audio header", "keyframe"]
        assert len(sink.of("key-b")) == 1
        times = [item.dts_ms for item in sink.only("key-b").listing.track("video")]
        assert all(later > earlier for earlier, later in pairwise(times))


async def test_a_platform_that_must_see_no_change_gets_a_new_connection(desk: Desk) -> None:
    async with Sink() as sink:
        desk.configure(to(sink, on_change="reconnect"), to(sink, "b"))
        await desk.until(LIVE, "a", "b")
        last_ms = desk.programme.written[-1].dts_ms
        turned = replace(VIDEO, header=VIDEO.header[:-1] + b"\xcd")
        for number in range(50):
            dts_ms = last_ms + 40 * (number + 1)
            picture = Packet(turned, dts_ms, dts_ms, number % GOP == 0, b"turned" + bytes((number,)))
            desk.programme.write([picture, Packet(AUDIO, dts_ms + 1, dts_ms + 1, True, b"a%d" % number)])
            await asyncio.sleep(0.02)
        await eventually(lambda: len(sink.of("key-a")) == 2 and sink.of("key-a")[1].listing.headers)
        first, second = sink.of("key-a")
        assert first.goodbye
        for arrival in (first, second):
            assert len([track for _, track, _ in arrival.listing.headers if track == "video"]) == 1
        headers = [track for _, track, _ in sink.only("key-b").listing.headers]
        assert headers.count("video") == 2


async def test_more_patience_is_no_new_connection(desk: Desk) -> None:
    async with Sink() as sink:
        desk.configure(to(sink, hold=HoldConfig(limit_s=1.0)))
        await desk.until(LIVE, "a")
        desk.programme.leave(clean=False)
        await asyncio.sleep(0.2)
        desk.configure(to(sink, hold=HoldConfig(limit_s=60)))
        await asyncio.sleep(1.3)
        assert desk["a"].state is LIVE
        desk.configure(to(sink, hold=HoldConfig(limit_s=0.1)))
        await eventually(lambda: sink.only("key-a").goodbye)
