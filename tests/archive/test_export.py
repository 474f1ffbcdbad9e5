"""Exports of real recordings: the packets that were sent, on a timeline of their own, playable to the last frame."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from relay.archive.export import Export, prepare
from relay.errors import ConflictError, InvalidError, NotFoundError, StoreError
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol.mp4 import Sample, read_fragments, read_init
from tests.archive.house import House
from tests.archive.media import batches, publish, read_packets, shifted
from tests.support import clips
from tests.support.clips import Clip
from tests.support.probe import decode, probe

SHORT = {name: Clip(f"unit-export-{name}", clip.video, clip.audio, 6) for name, clip in (
    ("h264", clips.H264), ("hevc", clips.HEVC), ("av1", clips.AV1), ("audio", clips.AUDIO_ONLY),
    ("video", clips.VIDEO_ONLY))}  # fmt: skip
TURNED = Clip("unit-turned", clips.H264.video, clips.H264.audio, 4, 360, 640)


async def made(export: Export, folder: Path) -> Path:
    """The whole export in a file, as large as it said."""
    content = b"".join([chunk async for chunk in export.chunks()])
    assert len(content) == export.size
    path = folder / f"export-{len(list(folder.glob('export-*')))}.mp4"
    path.write_bytes(content)
    return path


class Read:
    """An exported file read back, track by track, times in ms."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.scales = read_init(content)
        self.samples = read_fragments(content)

    def track(self, kind: TrackKind) -> list[Sample]:
        return [sample for sample in self.samples if kind in self.scales and sample.track_id == self.scales[kind][0]]

    def payloads(self, kind: TrackKind) -> list[bytes]:
        return [sample.payload for sample in self.track(kind)]

    def dts_ms(self, kind: TrackKind) -> list[float]:
        return [sample.dts * 1000 / self.scales[kind].timescale for sample in self.track(kind)]


def of(packets: list[Packet], kind: TrackKind) -> list[Packet]:
    return [packet for packet in packets if packet.track.kind is kind]


async def clean(path: Path, export: Export) -> None:
    """FFmpeg finds nothing to complain of: no gap, times that only grow, as long as was said."""
    await decode(path)
    tracks = await probe(path)
    for track in tracks.values():
        assert track.gap_s <= 2 * track.frame_s + 0.005
        assert all(later > earlier for earlier, later in pairwise(track.dts))
    longest = max(track.dts[-1] + track.frame_s for track in tracks.values())
    assert longest == pytest.approx(export.duration_s, abs=0.13)  # sound ends some frames later
    assert min(track.dts[0] for track in tracks.values()) == pytest.approx(0, abs=0.001)


async def recorded(house: House, packets: list[Packet]) -> str:
    publish(house.hub, "talk", packets)[0].release(clean=True)
    return (await house.finished()).id


@pytest.mark.parametrize("name", SHORT)
async def test_a_whole_recording_of_each_kind(house: House, tmp_path: Path, name: str) -> None:
    packets = read_packets(await asyncio.to_thread(clips.make, SHORT[name]))
    recording = await recorded(house, packets)
    export = await prepare(house.archive.library, recording)
    path = await made(export, tmp_path)
    read = Read(path)
    for kind in TrackKind:
        assert read.payloads(kind) == [packet.data for packet in of(packets, kind)]
    both = {kind: of(packets, kind) for kind in read.scales}
    first = min(own[0].dts_ms for own in both.values())
    for kind, own in both.items():
        for at, packet in zip(read.dts_ms(kind), own, strict=True):
            assert at == pytest.approx(packet.dts_ms - first, abs=0.1), "picture and sound as they were sent"
    await clean(path, export)
    assert export.name == f"talk-{recording}.mp4"
    assert export.duration_s == pytest.approx(6, abs=0.07)


RANGES = [  # from, to, and the keyframe it starts on: one every 2 s
    ("3.1", "5", 2000),  # inside one segment
    ("0:00:03.5", "0:00:04.5", 2000),  # across two
    ("4", "", 4000),
    ("", "2.5", 0),
    ("1.9", "7.3", 0),
    ("7.9", "7.95", 6000),
    ("4.0", "4.1", 4000),
]


@pytest.mark.parametrize(("start", "end", "key_ms"), RANGES)
async def test_a_range_starts_on_its_keyframe_and_ends_in_time(
    house: House, packets: list[Packet], tmp_path: Path, start: str, end: str, key_ms: int
) -> None:
    recording = await recorded(house, packets)
    export = await prepare(house.archive.library, recording, start, end)
    path = await made(export, tmp_path)
    read = Read(path)
    videos, sounds = of(packets, TrackKind.VIDEO), of(packets, TrackKind.AUDIO)
    base = packets[0].dts_ms
    keys = [index for index, packet in enumerate(videos) if packet.is_keyframe]
    first = min(keys, key=lambda index: abs(videos[index].dts_ms - base - key_ms))
    assert abs(videos[first].dts_ms - base - key_ms) < 50
    end_ms = round(float(end.rpartition(":")[2]) * 1000) if end else 1_000_000
    late = videos[first].pts_ms - videos[first].dts_ms
    last = max(index for index, packet in enumerate(videos) if packet.pts_ms - late - base < end_ms)
    assert read.payloads(TrackKind.VIDEO) == [packet.data for packet in videos[first : last + 1]]
    heard = [packet.data for packet in sounds]
    found = read.payloads(TrackKind.AUDIO)
    at = heard.index(found[0])
    assert found == heard[at : at + len(found)], "sound without a hole"
    assert abs(sounds[at].dts_ms - videos[first].dts_ms) < 60
    if end:
        assert sounds[at + len(found) - 1].dts_ms - base < end_ms
        assert end_ms - (sounds[at + len(found) - 1].dts_ms - base) <= 22
    apart = read.dts_ms(TrackKind.AUDIO)[0] - read.dts_ms(TrackKind.VIDEO)[0]
    assert apart == pytest.approx(sounds[at].dts_ms - videos[first].dts_ms, abs=0.1), "in sync"
    await decode(path)
    assert min(read.dts_ms(TrackKind.VIDEO)[0], read.dts_ms(TrackKind.AUDIO)[0]) == pytest.approx(0, abs=0.1)


async def test_times_of_day_mean_the_same_places(house: House, packets: list[Packet]) -> None:
    recording = await recorded(house, packets)
    row, _, _ = await house.archive.library.parts_of(recording)
    by_offset = await prepare(house.archive.library, recording, "4.5", "6")
    by_clock = await prepare(
        house.archive.library, recording, f"{row.started_at + 4.5:.3f}", f"{row.started_at + 6:.3f}"
    )
    assert (by_clock.size, by_clock.start_ms) == (by_offset.size, by_offset.start_ms)


async def gapped(house: House, packets: list[Packet]) -> tuple[str, list[Packet]]:
    """A recording of two runs with 3 s of nothing between them."""
    lease, _ = publish(house.hub, "talk", packets)
    more = shifted(packets, packets[-1].dts_ms + 3000)
    for batch in batches(more):
        lease.write(batch)
    lease.release(clean=True)
    return (await house.finished()).id, [*packets, *more]


async def test_a_gap_is_closed_and_both_tracks_stay_in_sync(
    house: House, packets: list[Packet], tmp_path: Path
) -> None:
    recording, sent = await gapped(house, packets)
    _, segments, (gap,) = await house.archive.library.parts_of(recording)
    export = await prepare(house.archive.library, recording)
    path = await made(export, tmp_path)
    read = Read(path)
    for kind in TrackKind:
        assert read.payloads(kind) == [packet.data for packet in of(sent, kind)]
    assert export.duration_s == pytest.approx(16, abs=0.1)
    await clean(path, export)
    sets = [
        [at - packet.dts_ms for at, packet in zip(read.dts_ms(kind), of(sent, kind), strict=True)][-1]
        for kind in TrackKind
    ]
    assert sets[0] == pytest.approx(sets[1], abs=0.1), "both moved by the same"
    part = await prepare(house.archive.library, recording, "7", str((gap.start_ms + gap.length_ms) / 1000 + 1))
    assert part.duration_s == pytest.approx(3, abs=0.2)
    await clean(await made(part, tmp_path), part)
    inside = await prepare(house.archive.library, recording, "9.5", "")
    assert inside.start_ms == pytest.approx(gap.start_ms + gap.length_ms, abs=50), "from the first there is"
    with pytest.raises(InvalidError, match=f"missing; `relay recording gaps {recording}`"):
        await prepare(house.archive.library, recording, "9", "10")
    assert len(segments) == len(export.pieces)
    await resumes(export, path.read_bytes())


async def resumes(export: Export, whole: bytes) -> None:
    """From the beginning, the middle and the end of each piece on, it is the same file."""
    at = len(export.init)
    for size in [0, *(piece.size for piece in export.pieces)]:
        for first in {at, at + size // 2, at + size}:
            assert b"".join([chunk async for chunk in export.chunks(first)]) == whole[first:]
        at += size


async def test_a_change_of_format_is_refused_with_the_ranges_that_work(house: House, tmp_path: Path) -> None:
    first = read_packets(await asyncio.to_thread(clips.make, SHORT["h264"]))
    second = shifted(read_packets(await asyncio.to_thread(clips.make, TURNED)), first[-1].dts_ms + 21)
    recording = await recorded(house, [*first, *second])
    with pytest.raises(ConflictError, match=r"format changes at 0:00:0[56]\.\d+.*each by itself") as refused:
        await prepare(house.archive.library, recording)
    ranges = [text.split() for text in str(refused.value).partition("by itself: ")[2].split("; ")]
    assert len(ranges) == 2
    found: list[bytes] = []
    for start, end in ranges:
        export = await prepare(house.archive.library, recording, start.removeprefix("from="), end.removeprefix("to="))
        path = await made(export, tmp_path)
        await decode(path)
        found += Read(path).payloads(TrackKind.VIDEO)
    assert found == [packet.data for packet in of([*first, *second], TrackKind.VIDEO)]


async def test_after_a_restart_an_equal_format_is_no_change(
    house: House, packets: list[Packet], tmp_path: Path
) -> None:
    """The next run makes an init segment of its own; what it says is the same."""
    lease, _ = publish(house.hub, "talk", packets)
    await house.archive._committer.drain()
    await house.stop()
    await house.start()
    publish(house.hub, "talk", packets)[0].release(clean=True)
    row = await house.finished()
    _, segments, _ = await house.archive.library.parts_of(row.id)
    assert len({segment.init_key for segment in segments}) == 2
    export = await prepare(house.archive.library, row.id)
    read = Read(await made(export, tmp_path))
    assert len(read.payloads(TrackKind.VIDEO)) == 2 * len(of(packets, TrackKind.VIDEO))
    assert lease is not None


async def test_what_mp4_cannot_hold_is_named(house: House) -> None:
    track = Track(codec=Codec.VP8, width=320, height=180)
    recording = await recorded(house, [Packet(track, 40 * at, 40 * at, at % 25 == 0, bytes(99)) for at in range(100)])
    with pytest.raises(ConflictError, match=r"000000\.raw\.flv.*kept as FLV only"):
        await prepare(house.archive.library, recording)


async def test_a_running_recording_exports_what_is_packaged(
    house: House, packets: list[Packet], tmp_path: Path
) -> None:
    lease, _ = publish(house.hub, "talk", packets)
    running = house.archive.recording_of("talk")
    assert running is not None
    async with asyncio.timeout(20):
        while True:
            rows = await house.database.recordings.newest("talk")
            if rows and rows[0].segments >= 3:
                break
            await asyncio.sleep(0.02)
    export = await prepare(house.archive.library, running)
    assert export.duration_s == pytest.approx(6, abs=0.1)
    await clean(await made(export, tmp_path), export)
    with pytest.raises(InvalidError, match=r"runs from 0 to 0:00:06\.\d+"):
        await prepare(house.archive.library, running, "0", "7.5")
    lease.release(clean=True)


async def test_what_is_not_there(house: House, packets: list[Packet]) -> None:
    recording = await recorded(house, packets)
    library = house.archive.library
    with pytest.raises(NotFoundError):
        await prepare(library, "no-such-recording")
    row, segments, _ = await library.parts_of(recording)
    export = await prepare(library, recording)
    for root in ("spool", "archive"):
        path = house.settings.data_dir / root / segments[1].object_key
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    chunks = export.chunks()
    await anext(chunks)
    await anext(chunks)
    with pytest.raises(StoreError, match="checksum differs"):
        await anext(chunks)
    await house.database.recordings.set_state(row.id, "deleting", None)
    with pytest.raises(NotFoundError, match="is being deleted"):
        await prepare(library, recording)
