"""Real encoders in, two destinations and the archive out: every packet equal, in order, none lost."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import publishers
from tests.e2e.conftest import Start
from tests.support import clips
from tests.support.listing import Listing, assert_same, read_flv
from tests.support.nginx import NginxRtmp
from tests.support.process import Processes
from tests.support.recording import read_folder
from tests.support.relay import Relay
from tests.support.sink import Arrival, Sink
from tests.support.tls import make_certificates

# A destination dials when the stream goes live and gets the newest GOP then, so it may miss the first ones of a
# slow start (DESIGN: bounded, from a keyframe on). Clips have a keyframe every 2 s.
LATE_MS = 4000

CASES: list[tuple[str, publishers.Publish, Callable[[], Path]]] = [
    ("ffmpeg-h264", publishers.debian_ffmpeg, lambda: clips.make(clips.H264)),
    ("ffmpeg-b-frames", publishers.debian_ffmpeg, lambda: clips.make(clips.H264_B)),
    ("ffmpeg-audio-only", publishers.debian_ffmpeg, lambda: clips.make(clips.AUDIO_ONLY)),
    ("ffmpeg-video-only", publishers.debian_ffmpeg, lambda: clips.make(clips.VIDEO_ONLY)),
    ("ffmpeg9-hevc", publishers.new_ffmpeg, lambda: clips.make(clips.HEVC)),
    ("ffmpeg9-av1-opus", publishers.new_ffmpeg, lambda: clips.make(clips.AV1)),
    ("gstreamer", publishers.gstreamer, lambda: clips.make(clips.H264)),
    ("resolution-change", publishers.own_publisher(chunk_size=4096), clips.make_resized),
    ("chunk-size-128", publishers.own_publisher(chunk_size=128), lambda: clips.make(clips.H264_B)),
]


async def closed(sink: Sink, name: str, within: float = 20.0) -> Arrival:
    """The one connection with this key, once it is over."""
    until = time.monotonic() + within
    while not any(arrival.closed_at for arrival in sink.of(name)):
        assert time.monotonic() < until, f"{name} still open or never came: {sink.of(name)}"
        await asyncio.sleep(0.05)
    return sink.only(name)


def archived(relay: Relay, channel: str, recording: str) -> Listing:
    return read_folder(relay.data / "archive" / channel / recording).listing()


@pytest.mark.parametrize(("name", "publish", "make"), CASES, ids=[case[0] for case in CASES])
async def test_every_packet_reaches_destinations_and_archive(
    name: str,
    publish: publishers.Publish,
    make: Callable[[], Path],
    start_relay: Start,
    processes: Processes,
    tmp_path: Path,
) -> None:
    """Publisher → relay → a sink over RTMP and a second relay over RTMPS; both relays keep archives."""
    clip = await asyncio.to_thread(make)
    certificates = make_certificates(tmp_path / "tls")
    far = await start_relay("far", RTMP__TLS_CERTIFICATE=certificates.certificate, RTMP__TLS_KEY=certificates.key)
    near = await start_relay("near", OUTBOUND__CA_FILE=certificates.authority)
    far_channel = await far.add_channel("copy")
    channel = await near.add_channel("talk")
    near.keys.add(far_channel["stream_key"])
    async with Sink() as sink:
        await near.add_destination("talk", "sink", sink.url, "sink-key-0001")
        await near.add_destination("talk", "far", f"rtmps://localhost:{far.rtmps_port}/live", far_channel["stream_key"])
        sent = await publish(processes, clip, near.publish_url(channel))
        assert sent.items, "nothing was sent"
        got = await closed(sink, "sink-key-0001")
    recording = await near.recording("talk")
    copy = await far.recording("copy")

    assert_same(sent, archived(near, "talk", recording["id"]), "archive")
    assert_same(sent, got.listing, "sink", late_ms=LATE_MS)
    assert_same(sent, archived(far, "copy", copy["id"]), "second relay", late_ms=LATE_MS)
    assert got.goodbye, "the sink was not told that the stream is over"
    has_video = bool(sent.track("video"))
    assert got.order[0] == "metadata", got.order
    first_media = next(index for index, kind in enumerate(got.order) if kind in ("keyframe", "audio", "video"))
    assert all("header" in kind for kind in got.order[1:first_media]), got.order
    assert got.order[first_media] == ("keyframe" if has_video else "audio"), got.order
    # What is configuration arrives once for each track and change, never in the middle without need.
    assert [entry[1:] for entry in got.listing.headers] == list(dict.fromkeys(e[1:] for e in sent.headers))


async def test_rtmpdump_pulls_what_is_published(relay: Relay, processes: Processes, tmp_path: Path) -> None:
    """librtmp's strict client plays with the read key and gets every packet from its first keyframe on."""
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.H264_B)
    publishing = asyncio.create_task(publishers.debian_ffmpeg(processes, clip, relay.publish_url(channel)))
    await relay.wait_channel("talk", "live")
    pulled = tmp_path / "pulled.flv"
    address = f"rtmp://127.0.0.1:{relay.rtmp_port}/live/talk?key={channel['read_key']}"
    dump = processes.start(
        "rtmpdump", "--live", "--rtmp", f"rtmp://127.0.0.1:{relay.rtmp_port}/live",
        "--playpath", address.rpartition("/")[2], "--flv", pulled, "--timeout", "10",
    )  # fmt: skip
    sent = await publishing
    await dump.wait(30)
    assert_same(sent, await asyncio.to_thread(read_flv, pulled), "rtmpdump", late_ms=6000)
    assert "rror" not in dump.text().replace("Unicode error", ""), dump.tail()


async def test_a_wrong_read_key_plays_nothing(relay: Relay, processes: Processes, tmp_path: Path) -> None:
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.H264)
    publishing = asyncio.create_task(publishers.debian_ffmpeg(processes, clip, relay.publish_url(channel)))
    await relay.wait_channel("talk", "live")
    pulled = tmp_path / "pulled.flv"
    for key in ("wrong", channel["stream_key"], ""):
        dump = processes.start(
            "rtmpdump", "--live", "--rtmp", f"rtmp://127.0.0.1:{relay.rtmp_port}/live",
            "--playpath", f"talk?key={key}", "--flv", pulled, "--timeout", "5",
        )  # fmt: skip
        assert await dump.wait(20) != 0, dump.tail()
        # It may have written a file header, or nothing at all.
        assert not pulled.exists() or pulled.stat().st_size <= 13
    await publishing


async def test_ffmpeg_plays_from_the_last_keyframe(relay: Relay, processes: Processes, tmp_path: Path) -> None:
    """A player that joins in the middle starts with a decodable picture: ffmpeg decodes without one error."""
    channel = await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, clips.H264)
    publishing = asyncio.create_task(publishers.debian_ffmpeg(processes, clip, relay.publish_url(channel)))
    await relay.wait_channel("talk", "live")
    await asyncio.sleep(3)
    address = f"rtmp://127.0.0.1:{relay.rtmp_port}/live/talk?key={channel['read_key']}"
    player = processes.start(
        clips.DEBIAN_FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "error", "-xerror", "-i", address,
        "-t", "3", "-f", "null", "-", name="player",
    )  # fmt: skip
    await player.done(30)
    assert not player.text().strip(), player.tail()
    await publishing


@pytest.mark.parametrize("kind", [clips.H264, clips.H264_B, clips.AUDIO_ONLY], ids=lambda kind: kind.name)
async def test_nginx_rtmp_records_every_packet(kind: clips.Clip, relay: Relay, processes: Processes) -> None:
    """A server of another make, with its own idea of chunks and timestamps, ends up with the same media."""
    nginx = NginxRtmp(processes)
    await nginx.ready()
    channel = await relay.add_channel("talk")
    await relay.add_destination("talk", "nginx", nginx.url, "nginx-key-01")
    clip = await asyncio.to_thread(clips.make, kind)
    sent = await publishers.debian_ffmpeg(processes, clip, relay.publish_url(channel))
    await relay.wait_destination("talk", "nginx", "idle")
    await asyncio.sleep(0.5)
    assert_same(sent, await asyncio.to_thread(nginx.recorded, "nginx-key-01"), "nginx", late_ms=LATE_MS)
