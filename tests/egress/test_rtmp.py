"""One attempt: what a destination sees of it, and how every misbehaviour of one ends it in words that help."""

import asyncio
import itertools
import time
import weakref
from pathlib import Path

import pytest

from relay.config import Settings
from relay.egress.base import DestinationConfig, DestinationTotals, Owner
from relay.egress.rtmp import RtmpAttempt
from relay.errors import DestinationError, DestinationRejectedError
from relay.hub import Batch, Stream
from relay.outbound.dial import client_tls, shared_tls
from relay.protocol.amf0 import encode
from relay.protocol.rtmp.chunk import write_message
from relay.protocol.rtmp.message import MessageType
from relay.secret import Secret
from tests.egress.conftest import MakeSettings
from tests.egress.media import GOP, Programme, eventually, listing_of, packets_of
from tests.egress.servers import (
    Converse,
    accept,
    closes_at_once,
    garbage,
    garbage_after_the_handshake,
    never_answers_connect,
    never_handshakes,
    refuses_the_app,
    reset,
    resets_at_once,
    server,
)
from tests.support import clips
from tests.support.collector import no_collector
from tests.support.listing import assert_same
from tests.support.nginx import NginxRtmp
from tests.support.process import Processes
from tests.support.sink import Behaviour, Sink
from tests.support.tls import make_certificates

KEY = "wonderful-key-1"


class Run:
    """An attempt under way: what it counts, whether it went live, how it ended."""

    def __init__(self, programme: Programme, url: str, settings: Settings, key: str = KEY, platform: str = "custom"):
        self.totals = DestinationTotals()
        self.live = asyncio.Event()
        config = DestinationConfig("d", url, Secret(key), platform)

        async def tls() -> object:
            return await asyncio.to_thread(client_tls, settings)

        owner = Owner(self.live.set, lambda _: None, lambda: False)
        self.attempt = RtmpAttempt(config, programme.stream, settings, self.totals, owner, tls)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.attempt.run())

    @property
    def backlog(self) -> int:
        return self.attempt.subscription.backlog_bytes if self.attempt.subscription is not None else 0

    async def went_live(self) -> None:
        """Return once live; raises what ended it before."""
        waiter = asyncio.create_task(self.live.wait())
        await asyncio.wait((self.task, waiter), return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if not self.live.is_set():
            await self.task

    async def failure(self, within: float = 15.0) -> DestinationError:
        """How it failed."""
        async with asyncio.timeout(within):
            with pytest.raises(DestinationError) as caught:
                await self.task
        assert KEY not in str(caught.value)
        return caught.value


async def test_metadata_headers_and_a_keyframe_come_first_and_everything_follows(settings: Settings) -> None:
    programme = Programme()
    programme.frames(GOP + 5)
    async with Sink() as sink:
        run = Run(programme, sink.url, settings)
        await run.went_live()
        programme.frames(25)
        programme.leave()
        await run.task
        arrival = sink.only(KEY)
        await eventually(lambda: arrival.closed_at is not None)
    assert arrival.app == "sink"
    assert arrival.order[:5] == ["metadata", "video header", "audio header", "keyframe", "audio"]
    assert arrival.listing.items == listing_of(programme.written[2 * GOP :]).items
    assert arrival.goodbye
    assert arrival.error == ""
    assert run.totals.dropped == 0
    assert run.totals.bytes_sent > sum(len(packet.data) for packet in programme.written[2 * GOP :])
    assert programme.stream.readers == 0


async def test_a_real_server_records_every_packet(settings: Settings, processes: Processes) -> None:
    """nginx-rtmp keeps what it takes in an FLV file: the same packets, to the byte, in order."""
    nginx = NginxRtmp(processes)
    await nginx.ready()
    clip = await asyncio.to_thread(clips.make, clips.H264_B)
    packets = packets_of(clip)
    programme = Programme()
    programme.write(packets[:10])
    run = Run(programme, nginx.url, settings)
    await run.went_live()
    for start in range(10, len(packets), 20):
        programme.write(packets[start : start + 20])
        await eventually(lambda: not run.backlog)
    programme.leave()
    await run.task
    await eventually(lambda: len(nginx.recorded(KEY).items) >= len(packets))
    assert_same(listing_of(packets), nginx.recorded(KEY), "nginx")


async def test_a_held_stream_keeps_the_destination_connected(settings: Settings) -> None:
    programme = Programme()
    programme.frames(3)
    async with Sink() as sink:
        run = Run(programme, sink.url, settings)
        await run.went_live()
        programme.leave(clean=False)
        await asyncio.sleep(0.3)
        assert not run.task.done()
        programme.return_()
        programme.frames(20)
        programme.leave()
        await run.task
        assert sink.only(KEY).listing.items == listing_of(programme.written).items


@pytest.mark.parametrize(
    ("platform", "path", "app", "enhanced"),
    [
        ("custom", "/live/inst", "live/inst", True),
        ("youtube", "/live2?backup=1", "live2?backup=1", True),
        ("telegram", "/s/", "s", False),
    ],
)
async def test_connect_says_what_the_platform_wants(
    platform: str, path: str, app: str, enhanced: bool, settings: Settings
) -> None:
    programme = Programme()
    programme.frames(1)
    async with Sink() as sink:
        run = Run(programme, f"rtmp://127.0.0.1:{sink.port}{path}", settings, f"{KEY}?a=b", platform)
        await run.went_live()
        programme.leave()
        await run.task
        arrival = sink.only(f"{KEY}?a=b")
    assert arrival.app == app
    assert arrival.connect is not None
    assert arrival.connect.tc_url == f"rtmp://127.0.0.1:{sink.port}/{app}"
    assert bool(arrival.connect.fourccs) is enhanced
    assert ("fourCcList" in arrival.connect.properties) is enhanced
    assert ("capsEx" in arrival.connect.properties) is enhanced


async def test_over_tls(make_settings: MakeSettings, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    programme = Programme()
    programme.frames(1)
    async with Sink(tls=certificates.server_context()) as sink:
        run = Run(programme, sink.url, make_settings(ca_file=certificates.authority))
        await run.went_live()
        programme.frames(200, 5000)
        programme.leave()
        await run.task
        assert sink.only(KEY).goodbye
        assert sink.only(KEY).listing.items == listing_of(programme.written).items


# --- misbehaviour ------------------------------------------------------------------------------------------------

BAD_SERVERS = [
    (never_handshakes, "timeout", "never answered the RTMP handshake (waited 0.3 s)"),
    (never_answers_connect, "timeout", "never answered connect; check the app in the URL (waited 0.3 s)"),
    (garbage, "protocol", "does not speak RTMP as it should"),
    (garbage_after_the_handshake, "protocol", "does not speak RTMP as it should"),
    (closes_at_once, "closed", "before taking the stream; check URL and stream key"),
    (resets_at_once, "closed", "before taking the stream; check URL and stream key"),
]


@pytest.mark.parametrize(
    ("converse", "outcome", "words"), BAD_SERVERS, ids=lambda value: getattr(value, "__name__", "")
)
async def test_a_server_that_is_none(converse: Converse, outcome: str, words: str, make_settings: MakeSettings) -> None:
    programme = Programme()
    programme.frames(1)
    async with server(converse) as url:
        error = await Run(programme, url, make_settings(dial_s=0.3)).failure()
    assert words in str(error)
    assert str(error).startswith("127.0.0.1:")
    assert error.outcome == outcome
    assert programme.stream.readers == 0


async def test_never_answers_publish(make_settings: MakeSettings) -> None:
    programme = Programme()
    async with Sink(Behaviour(answer_publish=False)) as sink:
        error = await Run(programme, sink.url, make_settings(dial_s=0.3)).failure()
    assert "never answered publish; check the stream key" in str(error)
    assert error.outcome == "timeout"


async def test_a_refused_key_is_a_rejection_in_the_platforms_words_without_the_key(settings: Settings) -> None:
    programme = Programme()
    async with Sink(Behaviour(refuse=lambda app, name: f"Stream {name} is\nnot known")) as sink:
        error = await Run(programme, sink.url, settings).failure()
    assert isinstance(error, DestinationRejectedError)
    assert "refused the stream: Stream ******** is not known — check the stream key" in str(error)


async def test_a_refused_app_says_to_check_the_url(settings: Settings) -> None:
    async with server(refuses_the_app) as url:
        error = await Run(Programme(), url, settings).failure()
    assert isinstance(error, DestinationRejectedError)
    assert "no such application — check the app in the URL" in str(error)


async def test_the_platform_ends_the_stream_in_its_own_words(settings: Settings) -> None:
    async def evict(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        status = {"level": "error", "code": "NetStream.Publish.Denied", "description": f"{KEY}: event over"}
        body = encode("onStatus", 0, None, status)
        writer.write(write_message(MessageType.COMMAND, 1, 0, body, chunk_size=60_000, csid=5))
        await reader.read()

    async with server(evict) as url:
        error = await Run(Programme(), url, settings).failure()
    assert str(error).endswith("ended the stream: ********: event over")
    assert error.outcome == "ended_by_platform"


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_closes_or_resets_while_live(how: str, settings: Settings) -> None:
    """Half a close, with nothing read any more, is a close too: nobody waits for the other half."""
    programme = Programme()
    programme.frames(1)
    over = asyncio.Event()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await eventually(lambda: programme.stream.readers)
        if how == "close":
            await asyncio.sleep(0.1)
            await reader.read(1_000_000)
        elif how == "reset":
            reset(writer)
        else:
            writer.write_eof()
            await over.wait()

    async with server(leave) as url:
        run = Run(programme, url, settings)
        await run.went_live()
        programme.frames(1000 if how == "half-close" else 1, 10_000)
        error = await run.failure(1.5)
        over.set()
    assert ("lost the connection" if how == "reset" else "closed the connection") in str(error)
    assert "stream key" not in str(error)
    assert error.outcome == "closed"


# --- slow readers ------------------------------------------------------------------------------------------------


async def test_one_that_reads_nothing_is_given_up_and_costs_no_more_than_its_limit(make_settings: MakeSettings) -> None:
    """The cached keyframe run alone fills the buffer: from then on the backlog is bounded and drops are counted."""
    settings = make_settings(write_stall_s=1.0, backlog_bytes=200_000)
    programme = Programme()
    programme.frames(GOP - 1, 800_000)
    over = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await over.wait()

    async with server(deaf) as url:
        run = Run(programme, url, settings)
        await run.went_live()
        begun = time.monotonic()
        cached = run.attempt.unsent
        programme.frames(1)
        for _ in range(200):
            programme.frames(10, 10_000)
        subscription = run.attempt.subscription
        assert subscription is not None
        assert subscription.backlog_bytes <= 200_000
        assert subscription.dropped_packets > 3000
        assert run.attempt.unsent <= cached
        dropped = subscription.dropped_packets
        error = await run.failure()
        took = time.monotonic() - begun
        over.set()
    assert error.outcome == "stalled"
    assert "has taken nothing for 1 s" in str(error)
    assert took > 0.8
    assert run.totals.dropped == dropped
    assert run.totals.bytes_sent < sum(len(packet.data) for packet in programme.written)


async def test_a_slow_one_skips_to_keyframes_and_another_misses_nothing(make_settings: MakeSettings) -> None:
    settings = make_settings(write_stall_s=5.0, backlog_bytes=300_000)
    programme = Programme()
    programme.frames(1, 10_000)
    async with Sink(Behaviour(bytes_per_s=1_500_000)) as slow, Sink() as quick:
        runs = [Run(programme, sink.url, settings) for sink in (slow, quick)]
        for run in runs:
            await run.went_live()
        subscription = runs[0].attempt.subscription
        assert subscription is not None
        await programme.on_air(lambda: subscription.dropped_packets > 4 * GOP, 20_000)
        assert not runs[0].task.done()
        programme.leave()
        await asyncio.gather(*(run.task for run in runs))
        whole = quick.only(KEY).listing.items
        await eventually(lambda: quick.only(KEY).closed_at is not None)
        part = slow.only(KEY).listing.items
    sent = listing_of(programme.written).items
    assert whole == sent
    assert runs[1].totals.dropped == 0
    place = {item: number for number, item in enumerate(sent)}
    places = [place[item] for item in part]
    assert places == sorted(set(places))
    for before, after in itertools.pairwise(places):
        if after != before + 1:
            assert sent[after].track == "video"
            assert sent[after].is_keyframe


async def test_cancelling_leaves_nothing_behind(settings: Settings) -> None:
    programme = Programme()
    programme.frames(1)
    async with Sink() as sink:
        run = Run(programme, sink.url, settings)
        await run.went_live()
        assert programme.stream.readers == 1
        run.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run.task
        assert programme.stream.readers == 0
        await eventually(lambda: sink.only(KEY).closed_at is not None)


async def test_a_fault_of_ours_ends_its_attempt_only(settings: Settings) -> None:
    """A packet no encoding can hold surfaces as what it is; the publisher and another reader go on."""
    programme = Programme()
    programme.frames(1)
    async with Sink() as sink:
        run = Run(programme, sink.url, settings)
        await run.went_live()
        broken = programme.written[0]._replace(dts_ms=50, data=None)  # type: ignore[arg-type]
        batch = Batch((programme.written[0],), programme.stream.tracks, 1)
        batch.packets = (broken,)
        subscription = run.attempt.subscription
        assert subscription is not None
        subscription.deliver(batch)
        with pytest.raises(TypeError):
            await run.task
    assert programme.stream.readers == 0
    programme.frames(1)


@pytest.mark.parametrize("converse", [garbage, resets_at_once, refuses_the_app, never_handshakes])
async def test_an_attempt_that_failed_is_gone_without_the_collector(converse: Converse, settings: Settings) -> None:
    """Seen keeping 10 KB of each: the relay's collector looks at what is old once in a million attempts."""

    async def fail(url: str) -> "weakref.ref[object]":
        stream, owner = Stream("talk"), Owner(lambda: None, lambda error: None, lambda: False)
        config = DestinationConfig("d", url, Secret(KEY), "custom")
        attempt = RtmpAttempt(config, stream, settings, DestinationTotals(), owner, shared_tls(settings))
        try:
            await attempt.run()
        except DestinationError:
            return weakref.ref(attempt._connection)
        raise AssertionError("it did not fail")

    async with server(converse) as url:
        with no_collector():
            left = [await fail(url) for _ in range(3)]
            await asyncio.sleep(0.05)  # transports tell of their end later
            assert [each() for each in left] == [None] * 3
