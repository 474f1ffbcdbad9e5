"""An HLS destination from its stream to a strict ingest: whole, in order, once, whatever happens in between."""

import asyncio
import random
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationState, DestinationStatus, HoldConfig
from relay.egress.manager import EgressManager
from relay.hub import Hub
from relay.media import Packet
from relay.secret import Secret
from tests.egress.conftest import MakeSettings
from tests.egress.media import Programme, eventually, packets_of
from tests.support import clips
from tests.support.collector import no_collector
from tests.support.hls_ingest import Fault, HlsIngest
from tests.support.probe import decode
from tests.support.process import free_port
from tests.support.tls import make_certificates
from tests.support.ts_listing import Frame, published

LIVE, RETRYING, IDLE = DestinationState.LIVE, DestinationState.RETRYING, DestinationState.IDLE
LONG_S = 600 if clips.FULL else 20
OUTAGE_S = 60 if clips.FULL else 4


class Desk:
    """A hub with one channel on air from a real clip, again and again, and the manager of its destinations."""

    def __init__(self, settings: Settings, packets: list[Packet]) -> None:
        self.hub = Hub(hold_s=60)
        self.manager = EgressManager(self.hub, settings)
        self.programme = Programme(self.hub)
        first = next((at for at, packet in enumerate(packets) if packet.is_video), 0)
        self._packets = packets[first:]
        self._length_ms = self._packets[-1].dts_ms - self._packets[0].dts_ms + 40
        self._sent = 0

    def configure(self, *configs: DestinationConfig) -> None:
        self.manager.configure("talk", configs)

    @property
    def status(self) -> DestinationStatus:
        return self.manager.status("talk")[0]

    def send(self, seconds: float) -> None:
        """The next ``seconds`` of media, at once."""
        until_ms = self._time(self._sent) + seconds * 1000
        batch = []
        while self._time(self._sent) < until_ms:
            packet = self._packets[self._sent % len(self._packets)]
            moved_ms = self._sent // len(self._packets) * self._length_ms
            batch.append(packet._replace(dts_ms=packet.dts_ms + moved_ms, pts_ms=packet.pts_ms + moved_ms))
            self._sent += 1
        if batch:
            self.programme.write(batch)

    def _time(self, index: int) -> int:
        rounds, at = divmod(index, len(self._packets))
        return self._packets[at].dts_ms + rounds * self._length_ms

    async def on_air(self, seconds: float, *, speed: float = 1.0) -> None:
        """Media for ``seconds`` of it, paced by the clock."""
        for _ in range(int(seconds * 10)):
            self.send(0.1)
            await asyncio.sleep(0.1 / speed)

    async def until(self, condition: Callable[[], object], within: float = 30.0) -> None:
        """Media, faster than in life, until ``condition()``."""
        async with asyncio.timeout(within):
            while not condition():
                self.send(0.2)
                await asyncio.sleep(0.02)

    def leave(self) -> None:
        self.programme.leave()

    def return_(self) -> None:
        """The publisher begins again, with a keyframe."""
        while not (packet := self._packets[self._sent % len(self._packets)]).is_video or not packet.is_keyframe:
            self._sent += 1
        self.programme.return_()

    async def ended(self, within: float = 20.0) -> None:
        await eventually(lambda: self.status.state is IDLE, within)

    def frames(self, track: str) -> list[Frame]:
        return [frame for frame in published(self.programme.written) if frame.track == track]


@pytest.fixture
async def packets() -> list[Packet]:
    return packets_of(await asyncio.to_thread(clips.make, clips.H264_B))


@pytest.fixture
async def desk(settings: Settings, packets: list[Packet]) -> AsyncIterator[Desk]:
    made = Desk(settings, packets)
    yield made
    made.leave()
    await made.manager.close()


def to(ingest: HlsIngest, **fields: object) -> DestinationConfig:
    config = DestinationConfig("a", ingest.url, Secret(ingest.key), kind="hls", hold=HoldConfig("off"))
    return replace(config, **fields)  # type: ignore[arg-type]


def assert_whole(ingest: HlsIngest, desk: Desk) -> None:
    """Every frame published arrived once, in order, with its bytes and times; the rules were kept."""
    ingest.check()
    for track in ("video", "audio"):
        assert ingest.frames(track) == desk.frames(track), track


async def test_everything_published_arrives_and_the_playlist_ends(desk: Desk, tmp_path: Path) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        assert desk.status.state is IDLE
        await desk.until(lambda: len(ingest.bodies) >= 4)
        assert desk.status.state is LIVE
        desk.leave()
        await desk.ended()
        assert_whole(ingest, desk)
        assert ingest.methods == {"PUT"}
        status = desk.status
        assert (status.attempts, status.outcomes, status.backlog_s) == (1, {"ended": 1}, 0.0)
        assert status.bytes_sent >= len(ingest.stored())
        assert status.dropped_packets == {"backlog": 0}
        assert status.url == f"http://127.0.0.1:{ingest.port}/http_upload_hls"
        assert all(1.0 <= length <= 4.0 for length in ingest.lengths_of_all())
        whole = tmp_path / "whole.ts"
        whole.write_bytes(ingest.stored())
        await decode(whole)


async def test_by_post_below_a_path(desk: Desk) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest, method="POST", url=f"http://127.0.0.1:{ingest.port}/live"))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        desk.leave()
        await desk.ended()
        assert_whole(ingest, desk)
        assert ingest.methods == {"POST"}


async def test_over_tls_the_certificate_is_verified(
    make_settings: MakeSettings, packets: list[Packet], tmp_path: Path
) -> None:
    certificates = await asyncio.to_thread(make_certificates, tmp_path)
    async with HlsIngest(tls=certificates.server_context()) as ingest:
        for settings, state in ((make_settings(ca_file=certificates.authority), LIVE), (make_settings(), RETRYING)):
            desk = Desk(settings, packets)
            desk.configure(to(ingest, url=ingest.url.replace("http:", "https:")))
            await desk.until(lambda desk=desk, state=state: desk.status.state is state)
            if state is RETRYING:
                assert "certificate" in desk.status.last_error
            desk.leave()
            await desk.manager.close()


@pytest.mark.timeout(LONG_S + OUTAGE_S + 240)
async def test_faults_and_an_outage_lose_nothing(make_settings: MakeSettings, packets: list[Packet]) -> None:
    """Every way of failing, at random, and then nobody there for a while: each segment once, in order, same bytes."""
    dice = random.Random(7)
    faults: list[Fault] = [500, 502, 503, 429, 408, "reset", "lost", "hang"]

    def fault(name: str, tries: int) -> Fault | None:
        return dice.choice(faults) if dice.random() < 0.25 and tries < 4 else None

    desk = Desk(make_settings(write_stall_s=0.5, retry_first_s=0.05, retry_most_s=0.5), packets)
    async with HlsIngest(fault=fault) as ingest:
        desk.configure(to(ingest))
        await desk.on_air(LONG_S / 2)
        async with ingest.away():
            await desk.on_air(OUTAGE_S)
            await eventually(lambda: desk.status.state is RETRYING)
            assert "cannot connect" in desk.status.last_error
            assert desk.status.backlog_s >= OUTAGE_S - 3
        await desk.on_air(LONG_S / 2)
        await eventually(lambda: desk.status.state is LIVE and desk.status.backlog_s < 5, 60)
        desk.leave()
        await desk.ended(60)
        assert_whole(ingest, desk)
        assert not ingest.discontinuities
        assert sum(tries > 1 for tries in ingest.tries.values()) > 3, "no fault was met"
        assert desk.status.attempts == 1
    await desk.manager.close()


async def test_an_outage_beyond_the_limit_drops_the_oldest_and_says_so(
    make_settings: MakeSettings, packets: list[Packet]
) -> None:
    desk = Desk(make_settings(late_s=6), packets)
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        async with ingest.away():
            for _ in range(10):
                desk.send(2)
                await asyncio.sleep(0.05)
            await eventually(lambda: desk.status.dropped_packets["backlog"] > 0)
            assert desk.status.backlog_s <= 6 + 4
        await desk.until(lambda: desk.status.state is LIVE and desk.status.backlog_s < 5)
        desk.leave()
        await desk.ended()
        ingest.check()
        assert ingest.discontinuities
        got = len(ingest.frames("video")) + len(ingest.frames("audio"))
        assert got + desk.status.dropped_packets["backlog"] == len(desk.programme.written)
    await desk.manager.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 301, 302, 307, 308])
async def test_a_refusal_is_told_with_its_reason_and_without_the_key(desk: Desk, status: int) -> None:
    async with HlsIngest("secret-key", fault=lambda name, tries: status) as ingest:
        with capture_logs() as logs:
            desk.configure(to(ingest))
            await desk.until(lambda: desk.status.state is RETRYING)
        assert desk.status.outcomes == {"rejected": 1}
        assert str(status) in desk.status.last_error
        assert "127.0.0.1" in desk.status.last_error
        assert "secret-key" not in f"{desk.status} {logs}"
        requests = ingest.requests
        await desk.on_air(1)
        assert ingest.requests == requests, "asked again at once"


async def test_after_a_refusal_the_next_attempt_goes_on_where_the_last_one_was(desk: Desk) -> None:
    refuses = True
    async with HlsIngest(fault=lambda name, tries: 401 if refuses and len(ingest.bodies) >= 2 else None) as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: desk.status.state is RETRYING)
        refuses = False
        desk.configure(to(ingest, ensure_audio="on"))  # whoever runs it has changed something
        await desk.until(lambda: len(ingest.bodies) >= 5)
        desk.leave()
        await desk.ended()
        ingest.check()
        seen = ingest.frames("video")
        assert [frame.dts for frame in seen] == sorted({frame.dts for frame in seen})
        assert desk.status.attempts >= 2
        assert len(ingest.named) == len(ingest.bodies)


async def test_a_change_of_options_neither_ends_the_playlist_nor_loses_anything(desk: Desk) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        desk.send(0.9)
        desk.configure(to(ingest, method="POST"))
        await desk.until(lambda: len(ingest.bodies) >= 5)
        desk.leave()
        await desk.ended()
        assert_whole(ingest, desk)
        assert ingest.methods == {"PUT", "POST"}
        assert not ingest.discontinuities
        assert ingest.session == 0


async def test_the_next_stream_goes_on_with_the_numbers(desk: Desk) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        desk.leave()
        await desk.ended()
        first = len(ingest.bodies)
        desk.return_()
        await desk.until(lambda: len(ingest.bodies) >= first + 2)
        desk.leave()
        await desk.ended()
        assert_whole(ingest, desk)
        assert ingest.session == 1
        assert ingest.discontinuities == {list(ingest.bodies)[first]}


async def test_a_stream_that_ends_during_an_outage_is_still_delivered(desk: Desk) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        async with ingest.away():
            desk.send(7)
            desk.leave()
            await asyncio.sleep(0.5)
            assert desk.status.state is not IDLE
        await desk.ended()
        assert_whole(ingest, desk)


async def test_a_destination_taken_out_ends_its_playlist_and_holds_nothing(desk: Desk) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        desk.configure(to(ingest, enabled=False))
        await eventually(lambda: ingest.is_over)
        ingest.check()
        await eventually(lambda: desk.status.backlog_s == 0)


async def test_a_platform_that_is_away_does_not_hold_up_a_goodbye(desk: Desk) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: len(ingest.bodies) >= 2)
        async with ingest.away():
            desk.send(6)
            async with asyncio.timeout(6):
                await desk.manager.close()


async def test_a_backup_gets_the_same_and_delays_nothing(desk: Desk) -> None:
    async with HlsIngest() as ingest, HlsIngest() as backup:
        desk.configure(to(ingest, backup=backup.url))
        await desk.until(lambda: len(backup.bodies) >= 2)
        backup.fault = lambda name, tries: "hang"
        before = len(ingest.bodies)
        await desk.until(lambda: len(ingest.bodies) >= before + 3)
        assert desk.status.state is LIVE
        backup.fault = lambda name, tries: None
        await desk.until(lambda: len(backup.bodies) >= before + 3)
        desk.leave()
        await desk.ended()
        assert_whole(ingest, desk)
        assert_whole(backup, desk)
        assert backup.bodies == ingest.bodies


async def test_a_backup_that_refuses_is_told_and_ends_nothing(desk: Desk) -> None:
    async with HlsIngest() as ingest, HlsIngest(fault=lambda name, tries: 401) as backup:
        with capture_logs() as logs:
            desk.configure(to(ingest, backup=backup.url))
            await desk.until(lambda: len(ingest.bodies) >= 3)
            desk.leave()
            await desk.ended()
        assert_whole(ingest, desk)
        assert [entry["event"] for entry in logs].count("backup in trouble") == 1


async def test_retry_after_is_honoured(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    def fault(name: str, tries: int) -> Fault | None:
        times.append(loop.time())
        return 503 if len(times) == 1 else None

    async with HlsIngest(fault=fault) as ingest:
        ingest.retry_after = "2"
        desk.configure(to(ingest))
        await desk.until(lambda: len(times) >= 2)
        assert times[1] - times[0] >= 2.0


async def test_a_publisher_away_is_filled_in_and_it_decodes(desk: Desk, tmp_path: Path) -> None:
    async with HlsIngest() as ingest:
        desk.configure(to(ingest, hold=HoldConfig("freeze", 60)))
        await desk.until(lambda: len(ingest.bodies) >= 1)
        desk.programme.leave(clean=False)
        before = len(ingest.bodies)
        await eventually(lambda: len(ingest.bodies) >= before + 3, 30)
        desk.return_()
        await desk.until(lambda: len(ingest.bodies) >= before + 5)
        desk.leave()
        await desk.ended()
        ingest.check()
        whole = tmp_path / "whole.ts"
        whole.write_bytes(ingest.stored())
        await decode(whole)


async def test_a_codec_that_does_not_fit_is_told_in_words(settings: Settings) -> None:
    desk = Desk(settings, packets_of(await asyncio.to_thread(clips.make, clips.AV1)))
    async with HlsIngest() as ingest:
        desk.configure(to(ingest))
        await desk.until(lambda: desk.status.state is RETRYING)
        assert "not av1" in desk.status.last_error
        assert "config" in desk.status.outcomes
        assert not ingest.bodies
    desk.leave()
    await desk.manager.close()


async def test_what_is_removed_is_gone_without_the_collector(desk: Desk) -> None:
    """Seen keeping megabytes of each: the relay's collector hardly ever looks at what is old."""
    desk.configure(DestinationConfig("a", f"http://127.0.0.1:{free_port()}/x/{{key}}", Secret("key"), kind="hls"))
    await desk.until(lambda: desk.status.state is RETRYING and desk.status.backlog_s > 3)
    attempt = weakref.ref(desk.manager._channels["talk"]["a"]._attempt)
    with no_collector():
        desk.configure()
        await eventually(lambda: not desk.manager._leaving, 20)
        await asyncio.sleep(0.1)
        assert attempt() is None
