"""Sources: what suits each destination is made once, and let go when nobody wants it."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import av
import pytest

from relay.egress.base import DestinationConfig, FitConfig, HoldConfig
from relay.egress.sources import Sources
from relay.hub import BacklogLimit, Stream, StreamState, Ticker
from relay.media import Packet
from relay.protocol import flv
from tests.egress.fitting import Watcher, is_alive, on_air
from tests.egress.media import eventually, packets_of
from tests.support import clips


def to(platform: str = "custom", **fields: object) -> DestinationConfig:
    return DestinationConfig("a", "rtmp://x/y", platform=platform, **fields)  # type: ignore[arg-type]


def red(path: Path) -> None:
    """A picture that nothing else looks like."""
    picture = av.VideoFrame(320, 240, "rgb24")
    for plane in picture.planes:
        plane.update(b"\xff\0\0" * (plane.buffer_size // 3))
    picture.save(str(path))


@pytest.fixture
async def stream() -> Stream:
    made = Stream("talk")
    made.state = StreamState.LIVE
    return made


@pytest.fixture
async def sources(stream: Stream, tmp_path: Path) -> AsyncIterator[Sources]:
    made = Sources(stream, Ticker(asyncio.get_running_loop(), 50), BacklogLimit(), tmp_path)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    return packets_of(clips.make(clips.LOAD))


async def test_destinations_that_want_the_same_share_it(stream: Stream, sources: Sources) -> None:
    plain = sources.of(to())
    assert plain is sources.of(to("youtube")) is sources.of(to(hold=HoldConfig(limit_s=5)))
    assert plain is not stream
    assert sources.of(to("facebook")) is not plain, "silence is ensured there"
    assert sources.of(to("facebook")) is sources.of(to(ensure_audio="on"))
    assert sources.of(to(hold=HoldConfig("off"))) is stream


async def test_what_nobody_reads_is_let_go(stream: Stream, sources: Sources, packets: list[Packet]) -> None:
    fitted = to(fit=FitConfig(height=90, video_kbps=100))
    watcher, other = Watcher(), Watcher()
    async with on_air(stream, packets):
        sources.of(fitted).subscribe(watcher)
        sources.of(to()).subscribe(other)
        await eventually(lambda: watcher.pictures, 30)
        (pid,) = sources.children
        sources.keep([to()])
        await eventually(lambda: not is_alive(pid), 10)
        assert sources.children == []
        assert watcher.is_over
        assert not other.is_over
        assert sources.cpu_s > 0


async def test_a_hold_reaches_every_kind(stream: Stream, sources: Sources, packets: list[Packet]) -> None:
    watchers = [Watcher() for _ in range(2)]
    for config, watcher in zip((to(), to("facebook")), watchers, strict=True):
        sources.of(config).subscribe(watcher)
    stream.write(packets[:60])
    stream.state = StreamState.HOLDING
    sources.hold()
    late = Watcher()
    sources.of(to("facebook", hold=HoldConfig("freeze"), ensure_audio="on")).subscribe(late)
    count = [len(watcher.packets) for watcher in watchers]
    await eventually(
        lambda: all(len(watcher.packets) > before + 20 for watcher, before in zip(watchers, count, strict=True))
    )
    assert late.packets[0].is_keyframe


@pytest.mark.parametrize("name", ["pause.png", "missing.png"])
async def test_a_slate_is_shown_in_the_streams_own_format(
    name: str, stream: Stream, sources: Sources, packets: list[Packet], tmp_path: Path
) -> None:
    red(tmp_path / "pause.png")
    watcher = Watcher()
    sources.of(to(hold=HoldConfig("slate", slate=name))).subscribe(watcher)
    stream.write(packets[:60])
    sources.hold()
    own = watcher.pictures[0].track
    if name == "missing.png":
        await eventually(lambda: len(watcher.pictures) > len([p for p in packets[:60] if p.is_video]) + 2, 20)
        assert all(packet.track is own for packet in watcher.pictures), "the last picture stays"
        return
    await eventually(lambda: watcher.pictures[-1].track is not own, 20)
    slate = watcher.pictures[-1]
    assert (slate.is_keyframe, slate.track.width, slate.track.height) == (True, own.width, own.height)
    assert slate.track.codec is own.codec
    strict = Watcher()
    sources.of(to("facebook", hold=HoldConfig("slate", slate=name))).subscribe(strict)
    sources.hold()
    await eventually(lambda: len(strict.pictures) > 2, 20)
    assert all(packet.track is own for packet in strict.pictures), "no other header for those who must see none"


async def test_transcoding_follows_from_what_may_not_change(stream: Stream, sources: Sources) -> None:
    assert sources.of(to(on_change="transcode")) is not sources.of(to())
    assert sources.of(to(on_change="transcode")) is sources.of(to(fit=FitConfig(fps=30)))


async def test_a_slate_is_seen_also_by_those_who_read_headers_once(
    stream: Stream, sources: Sources, tmp_path: Path
) -> None:
    """As a server does that copies the stream on under the header it was opened with."""
    red(tmp_path / "pause.png")
    high = clips.Clip("high", ("libx264", "-preset", "veryfast", "-b:v", "800k", "-g", "60"), clips.H264.audio, 4)
    packets = packets_of(await asyncio.to_thread(clips.make, high))
    watcher = Watcher()
    sources.of(to(hold=HoldConfig("slate", slate="pause.png"))).subscribe(watcher)
    async with on_air(stream, packets):
        await asyncio.sleep(3)
    live = len(watcher.pictures)
    own = watcher.pictures[0].track
    sources.hold()
    await eventually(lambda: watcher.pictures[-1].track is not own and len(watcher.pictures) > live + 8, 20)
    sound = next(packet.track for packet in watcher.packets if not packet.is_video)
    one_header = [packet._replace(track=own if packet.is_video else sound) for packet in watcher.packets]
    file = tmp_path / "seen.flv"
    base_ms = one_header[0].dts_ms
    file.write_bytes(
        flv.file_header(has_video=True, has_audio=True) + flv.encode_batch(one_header, (None, None), base_ms)
    )
    shown = []
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            plane = frame.reformat(16, 16, "rgb24").planes[0]
            middle = plane.line_size * 8 + 8 * 3
            shown.append(bytes(plane)[middle : middle + 3])
    assert len(shown) == len(watcher.pictures)
    assert [colour[0] > 200 and colour[1] < 60 for colour in shown[-5:]] == [True] * 5


async def test_a_starving_track_does_not_starve_what_is_made_to_fit(
    stream: Stream, sources: Sources, packets: list[Packet]
) -> None:
    watcher = Watcher()
    sources.of(to(fit=FitConfig(height=90, video_kbps=100))).subscribe(watcher)
    async with on_air(stream, packets):
        await eventually(lambda: len(watcher.pictures) > 20, 60)
    silent = [packet for packet in packets if packet.is_video]
    stream_ms = stream.last_dts_ms or 0
    async with on_air(stream, silent):
        await eventually(lambda: watcher.pictures[-1].dts_ms > stream_ms + 9000, 60)
    times = [packet.dts_ms for packet in watcher.pictures]
    assert max(later - earlier for earlier, later in pairwise(times)) < 4000
    sound = [packet.dts_ms for packet in watcher.packets if not packet.is_video]
    assert sound[-1] > stream_ms + 6000
    assert sources.failures == 0


async def test_what_is_made_to_fit_is_held_from_its_first_media_on(
    stream: Stream, sources: Sources, packets: list[Packet]
) -> None:
    """A destination added while the publisher is away."""
    stream.write(packets[:60])
    stream.state = StreamState.HOLDING
    watcher = Watcher()
    sources.of(to(fit=FitConfig(height=90, video_kbps=100))).subscribe(watcher)
    await eventually(lambda: len(watcher.pictures) > 60 and watcher.pictures[-1].is_keyframe, 60)
    before = len(watcher.packets)
    await eventually(lambda: len(watcher.packets) > before + 40, 20)
    for is_video in (True, False):
        times = [packet.dts_ms for packet in watcher.packets if packet.is_video == is_video]
        assert all(later > earlier for earlier, later in pairwise(times))
    assert sources.failures == 0
