"""Sources pulled from real origins: nginx serving ffmpeg's live HLS, killed meanwhile; nginx-rtmp; and hostile ones."""

import asyncio
import contextlib
import errno
import gzip
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.e2e import publishers
from tests.e2e.conftest import Start
from tests.support import clips, hls
from tests.support.nginx import NginxFiles, NginxRtmp
from tests.support.origin import compressed, endless, origin, status
from tests.support.process import Processes
from tests.support.recording import read_folder
from tests.support.relay import Relay

pytestmark = pytest.mark.timeout(1500 if clips.FULL else 300)
LIVE_S = 600 if clips.FULL else 8
BRIEF = clips.Clip("h264-b-brief", clips.H264_B.video, clips.H264_B.audio, seconds=60 if clips.FULL else 8)
QUICK = {"LIMITS__RETRY_FIRST_S": 0.2, "LIMITS__RETRY_MOST_S": 0.5}


async def pull(relay: Relay, channel: str, url: str, **more: object) -> None:
    await relay.api("PATCH", f"/channels/{channel}", {"source": {"url": url, **more}})


async def source_is(relay: Relay, channel: str, state: str, words: str = "", within: float = 30.0) -> dict[str, Any]:
    """The channel's source once it is in ``state`` (empty: any) and says ``words``."""
    until = time.monotonic() + within
    while True:
        found: dict[str, Any] = (await relay.channel(channel))["source"]
        if state in ("", found["state"]) and words in found["last_error"]:
            return found
        assert time.monotonic() < until, f"not {state} {words!r}: {found}"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["fmp4", "aes"])
async def test_a_live_origin_is_pulled_into_the_archive_whole(
    kind: str, start_relay: Start, processes: Processes
) -> None:
    relay = await start_relay(**QUICK)
    nginx = NginxFiles(processes)
    clip = await asyncio.to_thread(clips.make, BRIEF)
    await relay.add_channel("talk")
    await pull(relay, "talk", f"{nginx.url}/index.m3u8")
    await source_is(relay, "talk", "retrying", "cannot connect")
    await nginx.start()
    await source_is(relay, "talk", "retrying", "404")
    ffmpeg = [clips.new_ffmpeg(), "-hide_banner", "-loglevel", "warning", "-nostdin", "-re", "-i", clip]
    made = hls.words(kind, nginx.root)
    encoder = processes.start(*ffmpeg, *made[:-1], "-hls_list_size", "6", made[-1], name="ffmpeg")
    await source_is(relay, "talk", "live")
    assert (await relay.metrics())['relay_source_up{channel="talk"}'] == 1
    await encoder.done(BRIEF.seconds + 30)
    await source_is(relay, "talk", "idle", "ended its stream")
    recording = await relay.recording("talk")
    got = hls.recorded_units(read_folder(relay.data / "archive" / "talk" / recording["id"]))
    assert got == hls.flv_units(clip)
    assert recording["gap_s"] == 0


async def test_a_relay_that_is_killed_goes_on_without_loss_or_doubles(start_relay: Start, processes: Processes) -> None:
    relay = await start_relay(**QUICK)
    nginx = NginxFiles(processes)
    await nginx.start()
    clip = await asyncio.to_thread(clips.make, BRIEF)
    await relay.add_channel("talk")
    await pull(relay, "talk", f"{nginx.url}/index.m3u8")
    ffmpeg = [clips.new_ffmpeg(), "-hide_banner", "-loglevel", "warning", "-nostdin", "-re", "-i", clip]
    made = hls.words("ts", nginx.root)
    encoder = processes.start(*ffmpeg, *made[:-1], "-hls_list_size", "6", made[-1], name="ffmpeg")
    await source_is(relay, "talk", "live")
    await asyncio.sleep(3.7)  # the source has ended by the time the relay is back
    relay.kill()
    await relay.start()
    await encoder.done(BRIEF.seconds + 30)
    await source_is(relay, "talk", "idle", "ended its stream")
    recording = await relay.recording("talk")
    got = hls.recorded_units(read_folder(relay.data / "archive" / "talk" / recording["id"]))
    assert got == hls.flv_units(clip)


async def test_another_relay_is_pulled_part_by_part(start_relay: Start, processes: Processes) -> None:
    """Low-latency HLS from one relay to another, which is killed meanwhile: all of it, once, and in parts."""
    origin_relay, relay = await start_relay("other"), await start_relay(**QUICK)
    channel = await origin_relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, BRIEF)
    await relay.add_channel("copy")
    playlist = f"http://127.0.0.1:{origin_relay.http_port}/live/talk/index.m3u8?key={channel['read_key']}"
    await pull(relay, "copy", playlist)
    await source_is(relay, "copy", "retrying")
    ffmpeg = [clips.new_ffmpeg(), "-hide_banner", "-loglevel", "warning", "-nostdin", "-re", "-i", clip]
    encoder = processes.start(*ffmpeg, "-c", "copy", "-f", "flv", origin_relay.publish_url(channel), name="ffmpeg")
    await source_is(relay, "copy", "live")
    await asyncio.sleep(2.3)
    relay.kill()
    await relay.start()
    await source_is(relay, "copy", "live")
    await encoder.done(BRIEF.seconds + 30)
    await source_is(relay, "copy", "idle", "ended its stream")
    asked = await origin_relay.metrics()
    assert asked['relay_viewer_requests_total{channel="talk",kind="part"}'] > BRIEF.seconds
    recording = await relay.recording("copy")
    got = hls.recorded_units(read_folder(relay.data / "archive" / "copy" / recording["id"]))
    assert got == hls.flv_units(clip)
    assert recording["gap_s"] == 0


async def listed(playlist: Path, into: dict[str, None]) -> None:
    """Note every segment name the playlist ever has, in order."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            for line in playlist.read_text("utf-8").splitlines():
                if line and not line.startswith("#"):
                    into.setdefault(line)
        await asyncio.sleep(0.2)


async def test_origin_and_encoder_are_killed_and_the_archive_has_what_was_served(
    start_relay: Start, processes: Processes
) -> None:
    """nginx is away for seconds, again and again; ffmpeg dies, and its next run counts on behind a discontinuity."""
    relay = await start_relay(**QUICK, ARCHIVE__SEGMENT_S=2)
    nginx = NginxFiles(processes)
    await nginx.start()
    await relay.add_channel("talk")
    ffmpeg = [clips.new_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-re"]
    codec = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "30",
        "-keyint_min",
        "30",
        "-sc_threshold",
        "0",
    ]
    out = [
        "-c:a",
        "aac",
        "-f",
        "hls",
        "-hls_time",
        "1",
        "-hls_list_size",
        "10",
        "-hls_flags",
        "append_list+discont_start+temp_file",
    ]

    def encode(seed: int) -> Any:
        picture = f"testsrc2=s=320x180:r=30,noise=alls=20:allf=t:all_seed={seed}"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"anoisesrc=r=48000:seed={seed}"]
        return processes.start(*ffmpeg, *inputs, *codec, *out, nginx.root / "index.m3u8", name="ffmpeg")

    rng = random.Random(5)
    served: dict[str, None] = {}
    watching = asyncio.create_task(listed(nginx.root / "index.m3u8", served))
    encoder = encode(1)
    await pull(relay, "talk", f"{nginx.url}/index.m3u8")
    await relay.wait_channel("talk", "live")
    until = time.monotonic() + LIVE_S
    runs = 1
    while time.monotonic() < until:
        await asyncio.sleep(rng.uniform(20, 40) if clips.FULL else 4)
        nginx.kill()
        await asyncio.sleep(rng.uniform(0.5, 4) if clips.FULL else 2)
        await nginx.start()
        if time.monotonic() < until and (runs < 2 or rng.random() < 0.3):
            await asyncio.sleep(3)
            encoder.kill()
            runs += 1
            encoder = encode(runs)
    await asyncio.sleep(4)
    encoder.kill()
    await asyncio.sleep(4)
    watching.cancel()
    await relay.api("PATCH", "/channels/talk", {"source": None})
    recording = await relay.recording("talk")
    got_video, got_audio = hls.recorded_units(read_folder(relay.data / "archive" / "talk" / recording["id"]))
    truth = [hls.units(hls.read_ts((nginx.root / name).read_bytes())) for name in served]
    video, audio = [unit for piece in truth for unit in piece[0]], [unit for piece in truth for unit in piece[1]]
    assert runs > 1
    assert len(served) > LIVE_S * 0.6
    # The first segments may have gone by before the source was asked for.
    assert got_video == video[-len(got_video) :]
    assert got_audio == audio[-len(got_audio) :]
    assert len(got_video) > len(video) - 31 * 3
    assert (await relay.channel("talk"))["takeovers"] == 0


async def test_nginx_rtmp_is_pulled_from(relay: Relay, processes: Processes) -> None:
    nginx = NginxRtmp(processes)
    await nginx.ready()
    await relay.add_channel("talk")
    clip = await asyncio.to_thread(clips.make, BRIEF)
    publishing = asyncio.create_task(publishers.debian_ffmpeg(processes, clip, f"{nginx.url}/programme"))
    await asyncio.sleep(1.0)
    await pull(relay, "talk", f"{nginx.url}/programme")
    found = await source_is(relay, "talk", "live")
    assert found["url"] == f"{nginx.url}/********"
    sent = await publishing
    await asyncio.sleep(1.0)
    await relay.api("PATCH", "/channels/talk", {"source": None})
    recording = await relay.recording("talk")
    got = read_folder(relay.data / "archive" / "talk" / recording["id"]).listing()
    for track in ("video", "audio"):  # nginx begins with the sound at once, and with the picture at a keyframe
        expected, here = ([item.digest for item in listing.track(track)] for listing in (sent, got))
        assert here == expected[-len(here) :]
        assert len(here) > len(expected) / 2


HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n"


async def test_hostile_sources_are_refused_and_no_canary_is_touched(start_relay: Start, tmp_path: Path) -> None:
    relay = await start_relay(**QUICK)
    await relay.add_channel("talk")
    canary = tmp_path / "canary"
    os.mkfifo(canary)  # whoever opened it to read would hang there, and be seen
    async with origin() as site, origin() as bird:
        segments = "".join(f"#EXTINF:4,\nseg{number}.ts\n" for number in range(3)) + "#EXT-X-ENDLIST\n"
        nested = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{canary}\n"

        def all_segments(answer: Any) -> dict[str, Any]:
            return {f"/seg{number}.ts": answer for number in range(3)} | {"/index.m3u8": HEAD + segments}

        def playlist(text: Any) -> dict[str, Any]:
            return {"/index.m3u8": text}

        bomb = gzip.compress(bytes(200_000_000))
        cases: list[tuple[str, dict[str, Any]]] = [
            ("a file URI", playlist(f"{HEAD}#EXTINF:4,\nfile://{canary}\n")),
            ("a data URI", playlist(f"{HEAD}#EXTINF:4,\ndata:text/plain,x\n")),
            ("a concat URI", playlist(f"{HEAD}#EXTINF:4,\nconcat:{canary}\n")),
            ("a file URI", playlist(f'{HEAD}#EXT-X-KEY:METHOD=AES-128,URI="file://{canary}"\n{segments}')),
            ("a file URI", playlist(f'{HEAD}#EXT-X-MAP:URI="file://{canary}"\n{segments}')),
            ("a file URI", playlist(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile://{canary}\n")),
            ("EXTINF is no duration", playlist(f"{HEAD}#EXTINF:1e308,\nseg0.ts\n")),
            ("list of variants again", playlist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nindex.m3u8\n")),
            ("more than 262144 bytes", playlist(endless(b"#EXTM3U\n" * 100_000, 0))),
            ("compressed", playlist(compressed(bomb))),
            ("redirect", playlist(status(302, Location="http://169.254.169.254/latest/meta-data/"))),
            ("redirect", playlist(status(302, Location=f"{bird.url}/canary"))),
            ("redirect", playlist(status(302, Location=f"file://{canary}"))),
            ("redirect", all_segments(status(302, Location=f"{bird.url}/canary"))),
            ("compressed", all_segments(compressed(bomb))),
            ("20971520 bytes", all_segments(endless(bytes(1 << 20), 0))),
            ("names another playlist", all_segments(nested)),
            ("cannot be read", all_segments("\ufeff" + nested)),
            ("cannot be read", all_segments(f"ffconcat version 1.0\nfile '{canary}'\n")),
            ("cannot be read", all_segments(f"<SMIL><a href='file://{canary}'/></SMIL>")),
            ("cannot be read", all_segments(b"G" + os.urandom(187) + b"G" + os.urandom(100_000))),
            ("cannot be read", all_segments(b"\0\0\0\x18ftypiso5" + os.urandom(50_000))),
        ]
        before = relay.memory()
        for number, (words, files) in enumerate(cases):
            site.files = files
            await pull(relay, "talk", f"{site.url}/index.m3u8?case={number}")
            await source_is(relay, "talk", "", words)
        assert bird.asked == []
        assert relay.memory() - before < 150_000_000
        with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
            os.close(os.open(canary, os.O_WRONLY | os.O_NONBLOCK))
        assert (await relay.channel("talk"))["state"] == "offline"
        # And a good one works afterwards.
        clip = await asyncio.to_thread(clips.make, BRIEF)
        made = await asyncio.to_thread(hls.make, clip, "ts", tmp_path / "hls", "-hls_playlist_type", "vod")
        site.files = {f"/{name}": data for name, data in made.items()}
        await pull(relay, "talk", f"{site.url}/index.m3u8")
        await relay.wait_channel("talk", "live")


async def test_private_sources_are_refused_unless_allowed(start_relay: Start) -> None:
    relay = await start_relay(**QUICK, OUTBOUND__ALLOW_PRIVATE="false")
    await relay.add_channel("talk")
    asked = 0

    async def note(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response()

    async with origin() as site:
        site.files["/a.m3u8"] = note
        for url in (f"{site.url}/a.m3u8", f"http://localhost:{site.port}/a.m3u8", "http://169.254.169.254/a.m3u8"):
            await pull(relay, "talk", url)
            await source_is(relay, "talk", "retrying", "address, which the relay")
        assert site.asked == []
        assert asked == 0
