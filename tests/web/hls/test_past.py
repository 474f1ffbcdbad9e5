"""Past: what has left memory comes back from the archive, byte for byte, or not at all."""

import asyncio

import pytest

from relay.app import App
from relay.errors import NotFoundError
from relay.media import Packet
from relay.web.hls import past as module
from relay.web.hls.cut import Rendition, Segment, fragment
from relay.web.hls.muxer import Muxer
from relay.web.hls.past import Past
from tests.support.clips import H264_B, make
from tests.support.publisher import Publisher


async def published(app: App, *, watched: bool = True) -> Muxer:
    """A clip, published at eight times its speed; its segments once the archive has them all."""
    if watched:
        app.live.watched("demo").asked("somebody")
    channel = app.control.channel("demo")
    clip = await asyncio.to_thread(make, H264_B)
    async with Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{channel.stream_key}") as publisher:
        await publisher.send(clip, speed=8)
    deadline = asyncio.get_running_loop().time() + 20
    while not (rows := await app.control.recordings.list("demo")) or rows[0].state != "complete":
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    muxer = app.live.muxer("demo")
    assert muxer is not None
    return muxer


async def test_what_left_memory_is_made_again_byte_for_byte(app: App) -> None:
    muxer = await published(app)
    assert len(muxer.segments) >= 5
    for segment in muxer.segments:
        made = {}
        for rendition in Rendition:
            await segment.epoch.init(rendition)
            made[rendition] = [part.data(rendition, segment.number, segment.epoch) for part in segment.parts]
        cuts = segment.cuts
        segment.forget()
        assert segment.cuts == cuts
        for rendition, parts in made.items():
            whole = b"".join(parts)
            assert await app.live.past.data("demo", segment, rendition) == whole
            for number, part in enumerate(parts):
                assert await app.live.past.data("demo", segment, rendition, number) == part


async def test_many_who_go_back_read_the_archive_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    muxer = await published(app)
    library = app.live.past._library
    assert library is not None
    read: list[str] = []
    reading = library.segment

    async def counted(row, segment, work):  # type: ignore[no-untyped-def]
        read.append(segment.object_key)
        return await reading(row, segment, work)

    monkeypatch.setattr(library, "segment", counted)
    segment = muxer.segments[1]
    found = await asyncio.gather(*(app.live.past.data("demo", segment, Rendition.MAIN) for _ in range(50)))
    assert len(set(found)) == 1
    assert len(read) == len(set(read))


async def test_what_the_archive_does_not_have_is_not_made_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    muxer = await published(app)
    segment = muxer.segments[1]
    part = segment.parts[-1]
    cut, part.cut = part.cut, part.cut._replace(video=part.cut.video + 10_000)
    with pytest.raises(NotFoundError):
        await app.live.past.data("demo", segment, Rendition.MAIN)
    part.cut = cut
    segment.size += 1
    with pytest.raises(NotFoundError):
        await app.live.past.data("demo", segment, Rendition.MAIN)
    segment.size -= 1
    assert segment.epoch.place is not None
    segment.epoch.place = segment.epoch.place._replace(recording="gone")
    with pytest.raises(NotFoundError):
        await app.live.past.data("demo", segment, Rendition.MAIN)
    with pytest.raises(NotFoundError):
        await Past(None).data("demo", segment, Rendition.MAIN)


async def test_what_is_not_packaged_yet_is_read_from_the_spool(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody watched: but for the newest, segments are on disk only, and the archive's own is not even closed."""
    forgotten: dict[int, list[Packet]] = {}
    forget = Segment.forget

    def noted(segment: Segment) -> None:
        forgotten[segment.number] = [packet for part in segment.parts for packet in part._packets]
        forget(segment)

    monkeypatch.setattr(Segment, "forget", noted)
    channel = app.control.channel("demo")
    clip = await asyncio.to_thread(make, H264_B)
    async with Publisher(f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live/{channel.stream_key}") as publisher:
        await publisher.send(clip, speed=8, until_ms=5200)
        deadline = asyncio.get_running_loop().time() + 10
        while (muxer := app.live.muxer("demo")) is None or len(muxer.segments) < 2 or muxer.segments[0].is_kept:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        rows = await app.control.recordings.list("demo")
        assert not rows or not rows[0].segments
        segment = muxer.segments[0]
        init = await segment.epoch.init(Rendition.MAIN)
        wanted = fragment(segment.number, 0, forgotten[segment.number], segment.cuts[0], init, segment.epoch.base_ms)
        found = await asyncio.gather(*(app.live.past.data("demo", segment, Rendition.MAIN) for _ in range(20)))
        assert set(found) == {wanted}
