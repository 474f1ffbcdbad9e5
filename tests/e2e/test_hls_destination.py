"""A real relay between ffmpeg and a strict HLS ingest: what arrives is what was sent, and it decodes."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import publishers
from tests.e2e.conftest import Start
from tests.egress.media import packets_of
from tests.support import clips
from tests.support.hls_ingest import Fault, HlsIngest
from tests.support.nginx import NginxUploads
from tests.support.probe import decode, probe
from tests.support.process import Processes
from tests.support.publisher import Publisher
from tests.support.relay import Relay
from tests.support.tls import make_certificates
from tests.support.ts_listing import published

KEY = "hls-key-of-the-event"
LATE_MS = 4000  # as in test_publish: what a destination may miss of a slow start


async def until(condition: Callable[[], object], within: float = 40.0) -> None:
    ends = time.monotonic() + within
    while not condition():
        assert time.monotonic() < ends, f"not so after {within} s"
        await asyncio.sleep(0.05)


def assert_same(clip: Path, ingest: HlsIngest) -> None:
    """The ingest has the end of ``clip``, all but a late start of it, frame by frame; times by a constant."""
    sent = published(packets_of(clip))
    for track in ("video", "audio"):
        wanted = [frame for frame in sent if frame.track == track]
        got = ingest.frames(track)
        missing = len(wanted) - len(got)
        assert missing >= 0
        assert wanted[missing].dts - wanted[0].dts <= LATE_MS * 90, f"{missing} {track} frames missing at the start"
        assert [frame.digest for frame in got] == [frame.digest for frame in wanted[missing:]]
        shift = got[0].dts - wanted[missing].dts
        assert [frame.dts - shift for frame in got] == [frame.dts for frame in wanted[missing:]]
        assert [frame.pts - shift for frame in got] == [frame.pts for frame in wanted[missing:]]


@pytest.mark.parametrize(
    ("clip", "publish"),
    [(clips.H264_B, publishers.debian_ffmpeg), (clips.HEVC, publishers.new_ffmpeg)],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_ffmpeg_to_two_places_with_faults(
    clip: clips.Clip, publish: publishers.Publish, start_relay: Start, processes: Processes, tmp_path: Path
) -> None:
    """Over TLS, with a backup, a quarter of the requests failing."""
    path = await asyncio.to_thread(clips.make, clip)
    certificates = await asyncio.to_thread(make_certificates, tmp_path / "tls")
    dice = random.Random(3)
    faults: list[Fault] = [500, 503, 429, "reset", "lost"]

    def fault(name: str, tries: int) -> Fault | None:
        return dice.choice(faults) if dice.random() < 0.25 and tries < 3 else None

    relay = await start_relay(OUTBOUND__CA_FILE=certificates.authority, LIMITS__RETRY_MOST_S=1)
    channel = await relay.add_channel("talk")
    tls = certificates.server_context()
    async with HlsIngest(KEY, fault, tls) as ingest, HlsIngest(KEY) as backup:
        url = ingest.url.replace("http:", "https:")
        added = await relay.add_destination("talk", "hls", url, KEY, backup=backup.url)
        assert KEY not in str(added)
        await publish(processes, path, relay.publish_url(channel))
        await relay.wait_destination("talk", "hls", "idle", 40)
        for place in (ingest, backup):
            place.check()
            assert_same(processes.folder / "sent.flv", place)
        assert ingest.bodies == backup.bodies
        metrics = await relay.metrics()
        labels = '{channel="talk",destination="hls"}'
        assert metrics[f"relay_destination_bytes_total{labels}"] >= 2 * len(ingest.stored())
        assert metrics[f"relay_destination_backlog_seconds{labels}"] == 0
        assert metrics['relay_destination_attempts_total{channel="talk",destination="hls",outcome="ended"}'] == 1
        whole = tmp_path / "whole.ts"
        whole.write_bytes(ingest.stored())
        await decode(whole)
        tracks = await probe(whole)
        assert sorted(tracks) == ["audio", "video"]
        assert tracks["video"].gap_s < 0.1
        assert tracks["audio"].gap_s < 0.1
    relay.check_log()


async def test_an_ingest_that_is_away_is_waited_for_and_told(start_relay: Start) -> None:
    # The clip may be over before the destination is back: a publisher that then waits is not held, with filler.
    relay = await start_relay(LIMITS__RETRY_MOST_S=1, LIMITS__MEDIA_STALLED_S=50)
    clip = await asyncio.to_thread(clips.make, clips.H264)
    channel = await relay.add_channel("talk")
    async with HlsIngest(KEY) as ingest, Publisher(relay.publish_url(channel)) as publisher:
        await relay.add_destination("talk", "hls", ingest.url, KEY)
        sending = asyncio.create_task(publisher.send(clip))
        await until(lambda: len(ingest.bodies) >= 1)
        assert (await relay.destination("talk", "hls"))["state"] == "live"
        async with ingest.away():
            seen = await relay.wait_destination("talk", "hls", "retrying", 30)
            assert "cannot connect" in seen["last_error"]
            assert seen["backlog_s"] > 0
        await relay.wait_destination("talk", "hls", "live", 40)
        await sending
        await publisher.close()
        await relay.wait_destination("talk", "hls", "idle", 40)
        ingest.check()
        assert_same(clip, ingest)


async def test_a_relay_killed_and_started_again_goes_on_with_names_of_its_own(relay: Relay) -> None:
    clip = await asyncio.to_thread(clips.make, clips.H264)
    channel = await relay.add_channel("talk")
    async with HlsIngest(KEY) as ingest:
        await relay.add_destination("talk", "hls", ingest.url, KEY)
        for _ in range(2):
            before = len(ingest.bodies)
            publisher = Publisher(relay.publish_url(channel))
            await publisher.open()
            sending = asyncio.create_task(publisher.send(clip))
            await until(lambda before=before: len(ingest.bodies) >= before + 2)
            relay.kill()
            await asyncio.gather(sending, return_exceptions=True)
            await publisher.abort()
            await relay.start()
        assert not ingest.broken, ingest.broken
        numbers = [int(name[:-3].rpartition("-")[2]) for name in ingest.bodies]
        assert numbers == sorted(set(numbers))
        assert len({name.partition("-")[0] for name in ingest.bodies}) == 2


async def test_a_transcoded_stream_keeps_the_rules(relay: Relay, tmp_path: Path) -> None:
    """A publisher with a keyframe every 10 s: a fit makes it what HLS ingests take."""
    rare = clips.Clip("rare-keyframes", (*clips.H264.video[:-6], "-g", "300", "-sc_threshold", "0"), clips.H264.audio)
    clip = await asyncio.to_thread(clips.make, rare)
    channel = await relay.add_channel("talk")
    async with HlsIngest(KEY) as ingest, Publisher(relay.publish_url(channel)) as publisher:
        fit = {"height": 180, "keyframe_s": 2}
        await relay.add_destination("talk", "hls", ingest.url, KEY, fit=fit, hold={"mode": "off"})
        await publisher.send(clip)
        await publisher.close()
        await relay.wait_destination("talk", "hls", "idle", 40)
        ingest.check()
        assert len(ingest.bodies) >= 3
        assert all(1.0 <= length <= 4.0 for length in ingest.lengths_of_all())
        whole = tmp_path / "whole.ts"
        whole.write_bytes(ingest.stored())
        await decode(whole)


async def test_a_plain_web_server_takes_it_and_ffmpeg_plays_it(relay: Relay, processes: Processes) -> None:
    """nginx with nothing but PUT allowed: what is there at the end plays from its playlist."""
    clip = await asyncio.to_thread(clips.make, clips.H264_B)
    channel = await relay.add_channel("talk")
    nginx = NginxUploads(processes)
    await nginx.ready()
    async with Publisher(relay.publish_url(channel)) as publisher:
        await relay.add_destination("talk", "hls", nginx.url, KEY)
        await publisher.send(clip)
    await relay.wait_destination("talk", "hls", "idle", 40)
    playlist = f"{nginx.url}/{KEY}/index.m3u8"
    await decode(playlist)
    tracks = await probe(playlist)
    assert tracks["video"].gap_s < 0.1
    text = (nginx.files / "live" / KEY / "index.m3u8").read_text("utf-8")
    assert text.endswith("#EXT-X-ENDLIST\n")
    puts = [line for line in nginx.access_log.read_text("utf-8").splitlines() if '"PUT ' in line]
    assert all(line.split()[8] in ("201", "204") for line in puts), puts
