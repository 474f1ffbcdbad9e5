"""Demuxer: exactly what ffmpeg reads of the same segments, in segment after segment, and bounded by its children."""

import asyncio
import os
import signal
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from relay.config import LimitSettings
from relay.errors import LimitError, MediaError
from relay.ingest import demux
from relay.ingest.demux import Demuxed, Demuxer
from relay.media import Codec, Packet, Track
from relay.media.timeline import FileClock
from relay.protocol.flv import Depacketizer
from tests.ingest import segments
from tests.ingest.segments import AAC, AUDIO, H264, HEVC, VIDEO, Listed, Piece
from tests.support import proc

LIMITS = LimitSettings()
TAGS = 32  # of a second of video: a sequence header, 30 frames, an end of sequence


def packets_of(read: Demuxed, depacketizer: Depacketizer) -> list[Packet]:
    """With times from the segment's own start."""
    depacketizer._place = FileClock().place
    found = (depacketizer.feed(tag.type_id, tag.timestamp, tag.body) for tag in read.tags)
    return [packet for packet in found if packet is not None]


def payload(packet: Packet) -> bytes:
    """NAL units without their lengths, or the frame."""
    if packet.track.codec not in (Codec.H264, Codec.HEVC):
        return packet.data
    units, at = [], 0
    while at < len(packet.data):
        size = int.from_bytes(packet.data[at : at + 4], "big")
        units.append(packet.data[at + 4 : at + 4 + size].rstrip(b"\0"))
        at += 4 + size
    return b"|".join(units)


def expected(item: Listed, piece: Piece, track: Track) -> bytes:
    data = item.data
    if track.codec is Codec.AAC and not piece.init:
        return data[7 if data[1] & 1 else 9 :]  # behind the ADTS header
    if track.codec not in (Codec.H264, Codec.HEVC):
        return data
    if piece.init:
        return payload(Packet(track, 0, 0, False, data))
    return b"|".join(unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.rstrip(b"\0"))


async def exact(pieces: Sequence[Piece], folder: Path) -> Depacketizer:
    """Read ``pieces`` in order and compare each with what ffmpeg finds in it; the depacketizer used."""
    demuxer = Demuxer(LIMITS, read_s=60)
    depacketizer = Depacketizer(FileClock())
    tracks: set[int] = set()
    for piece in pieces:
        read = await demuxer.demux(piece.data, piece.init)
        base_ms = read.base * 1000 / read.rate
        wrap_ms = read.wrap * 1000 / read.rate
        depacketizer._place = FileClock().place
        found = packets_of(read, depacketizer)
        tracks |= {id(packet.track) for packet in found}
        for is_video in (True, False):
            own = [packet for packet in found if packet.is_video == is_video]
            other = [item for item in segments.listed(piece, folder) if item.is_video == is_video]
            assert len(own) == len(other), piece.name
            for packet, item in zip(own, other, strict=True):
                assert payload(packet) == expected(item, piece, packet.track), piece.name
                for mine, theirs in ((packet.dts_ms, item.dts_ms), (packet.pts_ms, item.pts_ms)):
                    off = mine + base_ms - theirs
                    assert min(abs(off), abs(off - wrap_ms), abs(off + wrap_ms)) <= 1, piece.name
            if is_video and own:
                assert own[0].is_keyframe
    assert len(tracks) == (depacketizer.video is not None) + (depacketizer.audio is not None), "headers never changed"
    await demuxer.close()
    return depacketizer


@pytest.mark.parametrize("kind", ["mpegts", "fmp4"])
@pytest.mark.parametrize(
    "words",
    [(*VIDEO, *AUDIO, *H264, *AAC), (*VIDEO, *AUDIO, *HEVC, *AAC), (*VIDEO, *H264), (*AUDIO, *AAC)],
    ids=["h264", "hevc", "video-only", "audio-only"],
)
async def test_packets_are_those_that_ffmpeg_reads(kind: str, words: tuple[str, ...], tmp_path: Path) -> None:
    await exact(segments.made(tmp_path / "made", *words, kind=kind), tmp_path)


async def test_av1_and_opus_in_fmp4(tmp_path: Path) -> None:
    words = ("-c:v", "libsvtav1", "-preset", "12", "-g", "30", "-pix_fmt", "yuv420p", "-c:a", "libopus")
    read = await exact(segments.made(tmp_path / "made", *VIDEO, *AUDIO, *words, kind="fmp4"), tmp_path)
    assert read.video is not None
    assert read.audio is not None
    assert (read.video.codec, read.audio.codec) == (Codec.AV1, Codec.OPUS)


@pytest.mark.parametrize("codec", [H264, HEVC], ids=["h264", "hevc"])
async def test_segments_without_a_keyframe(codec: tuple[str, ...], tmp_path: Path) -> None:
    gop = ("-g", "75") if codec is H264 else ("-x265-params", "keyint=75:min-keyint=75:scenecut=0:log-level=none")
    words = (*VIDEO, *AUDIO, *codec, *gop, *AAC, "-hls_flags", "split_by_time")
    pieces = segments.made(tmp_path / "made", *words)
    demuxer, depacketizer = Demuxer(LIMITS, read_s=60), Depacketizer(FileClock())
    found: list[tuple[int, Packet]] = []
    for piece in pieces:
        read = await demuxer.demux(piece.data)
        found += [(read.base // 90, packet) for packet in packets_of(read, depacketizer)]
    await demuxer.close()
    whole = Piece("all", b"".join(piece.data for piece in pieces), b"")
    other = [item for item in segments.listed(whole, tmp_path) if item.is_video]
    own = [(base_ms, packet) for base_ms, packet in found if packet.is_video]
    assert len(own) == len(other) == 150
    assert len({id(packet.track) for _, packet in own}) == 1
    for (base_ms, packet), item in zip(own, other, strict=True):
        assert payload(packet) == expected(item, whole, packet.track)
        assert abs(packet.pts_ms + base_ms - item.pts_ms) <= 1


async def test_a_clock_that_wraps_at_33_bits(tmp_path: Path) -> None:
    begins_s = (2**33) / 90000 - 2.5
    words = (*VIDEO, *AUDIO, *H264, *AAC, "-output_ts_offset", f"{begins_s:.3f}")
    pieces = segments.made(tmp_path / "made", *words)
    await exact(pieces, tmp_path)
    demuxer = Demuxer(LIMITS, read_s=60)
    bases = [(await demuxer.demux(piece.data)).base for piece in pieces]
    await demuxer.close()
    steps = [(after - before) % 2**33 / 90 for before, after in pairwise(bases)]
    assert max(bases) > 2**33 - 3 * 90000
    assert min(bases) < 3 * 90000
    assert all(900 < step < 1100 for step in steps)


async def test_too_large_too_long_or_too_many(tmp_path: Path) -> None:
    piece = segments.made(tmp_path / "made", *VIDEO, *H264, seconds=3, segment_s=3)[0]
    demuxer = Demuxer(LIMITS.model_copy(update={"hls_segment_s": 2.0, "hls_segment_bytes": len(piece.data)}))
    with pytest.raises(MediaError, match=r"the segment is 3\.0 s long; 2 s are allowed: set a shorter"):
        await demuxer.demux(piece.data)
    with pytest.raises(LimitError, match="are allowed"):
        await demuxer.demux(piece.data + b"\0")
    await demuxer.close()


async def test_a_reader_that_hangs_is_ended_and_the_next_segment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = segments.made(tmp_path / "made", *VIDEO, *H264, seconds=1)[0]
    demuxer = Demuxer(LIMITS, workers=1, read_s=0.3)
    monkeypatch.setattr(demux, "_CHILD", ("-c", "import time; time.sleep(600)"))
    with pytest.raises(MediaError, match=r"takes more than 0\.3 s"):
        await demuxer.demux(piece.data)
    assert demuxer.stats.restarts == 1
    monkeypatch.undo()
    demuxer = Demuxer(LIMITS, workers=1, read_s=60)
    assert len((await demuxer.demux(piece.data)).tags) == TAGS
    await demuxer.close()


@pytest.mark.parametrize(
    "child",
    [
        "pass",
        "import sys; sys.stdout.write('x' * 8 + 'garbage'); sys.stdout.flush(); sys.stdin.read()",
        r"import sys; sys.stdout.buffer.write(b'\0\0\0\2\0\0\0\0[]'); sys.stdout.flush(); sys.stdin.read()",
        r"import sys; sys.stdout.buffer.write(b'\0\0\0\2\xff\0\0\0{}'); sys.stdout.flush(); sys.stdin.read()",
    ],
)
async def test_a_child_that_dies_or_talks_nonsense(child: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demux, "_CHILD", ("-c", child))
    demuxer = Demuxer(LIMITS, read_s=60)
    with pytest.raises(MediaError, match="it breaks the reader"):
        await demuxer.demux(b"\x47" * 188)
    await demuxer.close()


async def test_a_child_that_earlier_segments_broke_costs_the_next_one_nothing(tmp_path: Path) -> None:
    piece = segments.made(tmp_path / "made", *VIDEO, *H264, seconds=1)[0]
    demuxer = Demuxer(LIMITS, read_s=60)
    await demuxer.demux(piece.data)
    (worker,) = demuxer._idle
    worker.process.kill()
    await worker.process.wait()
    assert len((await demuxer.demux(piece.data)).tags) == TAGS
    assert demuxer.stats.restarts == 1
    await demuxer.close()


async def test_whoever_gives_up_waiting_harms_nobody(tmp_path: Path) -> None:
    piece = segments.made(tmp_path / "made", *VIDEO, *H264, seconds=1)[0]
    demuxer = Demuxer(LIMITS, workers=1, read_s=60)
    asking = [asyncio.create_task(demuxer.demux(piece.data)) for _ in range(6)]
    await asyncio.sleep(0.01)
    for task in asking[:5:2]:
        task.cancel()
    done = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(item, Demuxed) for item in done] == [False, True, False, True, False, True]
    await demuxer.close()


async def test_children_leave_when_there_is_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demux, "IDLE_S", 0.2)
    piece = segments.made(tmp_path / "made", *VIDEO, *H264, seconds=1)[0]
    demuxer = Demuxer(LIMITS, read_s=60)
    await asyncio.gather(*(demuxer.demux(piece.data) for _ in range(4)))
    workers = list(demuxer._idle)
    assert 1 <= len(workers) <= 2
    async with asyncio.timeout(20):
        await asyncio.gather(*(worker.process.wait() for worker in workers))
    assert demuxer.stats.restarts == 0
    await demuxer.close()


def test_a_reader_that_was_killed_while_it_waited_is_replaced(tmp_path: Path) -> None:
    """On uvloop, as the relay runs: there the pipe to a child that is gone cannot be written to."""
    piece = segments.made(tmp_path / "made", *VIDEO, *H264, seconds=1)[0]

    async def reads() -> None:
        demuxer = Demuxer(LIMITS, workers=1, read_s=60)
        first = await demuxer.demux(piece.data)
        (worker,) = demuxer._idle
        os.killpg(worker.process.pid, signal.SIGKILL)
        await worker.process.wait()
        await asyncio.sleep(0.1)  # until its pipes are known to be closed, too
        assert (await demuxer.demux(piece.data)).tags == first.tags
        assert demuxer.stats.restarts == 1
        await demuxer.close()

    uvloop.run(reads())


async def test_a_child_has_its_pipes_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_ARCHIVE__S3_SECRET", "canary-of-the-relay")
    piece = segments.made(tmp_path / "made", *VIDEO, *AUDIO, *H264, *AAC, seconds=1)[0]
    demuxer = Demuxer(LIMITS)
    with open("/dev/null") as extra:
        os.set_inheritable(extra.fileno(), True)
        await demuxer.demux(piece.data)
    (worker,) = demuxer._idle
    pid = worker.process.pid
    assert proc.environment(pid) == b""
    files = proc.files(pid)
    assert sorted(files) == [0, 1, 2]
    assert files[2] == "/dev/null"
    assert os.getpgid(pid) == pid
    assert proc.limits(pid)["open_files"] == 3
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert proc.network(pid) != proc.network("self")
    await demuxer.close()
