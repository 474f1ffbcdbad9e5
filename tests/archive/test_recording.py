"""From part to segment: what the catalog is told, init segments, gaps, and parts that cannot be packaged."""

import hashlib
from pathlib import Path

import pytest

from relay.archive.recording import NOT_COMMITTED, Recording, package
from relay.archive.spool import ClosedPart, PartInfo, commit_tag, part_header
from relay.database import RecordingRow, SegmentRow
from relay.media import Codec, Packet, Track
from relay.protocol import flv
from relay.protocol.mp4 import read_fragments
from tests.archive.media import read_packets, shifted
from tests.support import clips
from tests.support.clips import Clip

SOUND = Clip("unit-aac", (), clips.H264.audio, 1)
BOTH = Clip("unit-h264", ("libx264", "-preset", "ultrafast", "-g", "30"), clips.H264.audio, 1)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording("r1", "talk", tmp_path)


def part(folder: Path, seq: int, packets: list[Packet], gap: str = "", end_ms: int | None = None) -> ClosedPart:
    start_ms = packets[0].dts_ms
    info = PartInfo(
        recording="r1",
        channel="talk",
        seq=seq,
        base_ms=0,
        start_ms=start_ms,
        recording_base_ms=0,
        first_seq=1,
        started_at=1000.0 + start_ms / 1000,
        recording_started_at=1000.0,
        gap=gap,
    )
    run = part_header(info, (None, None)) + flv.encode_batch(packets, (None, None))
    path = folder / f"{seq:06d}.flv"
    path.write_bytes(run + commit_tag(run, offset=len(run), seq=len(packets), packets=len(packets), timestamp=0))
    return ClosedPart(path, info, end_ms)


def test_a_part_becomes_a_segment_and_the_first_an_init_segment(recording: Recording, tmp_path: Path) -> None:
    packets = read_packets(clips.make(BOTH))
    made = package(recording, part(tmp_path, 0, packets, end_ms=1030))
    segment = made.segment
    assert segment is not None
    data = (tmp_path / "000000.m4s").read_bytes()
    assert (segment.seq, segment.object_key, segment.init_key) == (0, "talk/r1/000000.m4s", "talk/r1/init-1.mp4")
    start_ms = next(packet.dts_ms for packet in packets if packet.is_video)
    assert (segment.start_ms, segment.duration_s) == (start_ms, (1030 - start_ms) / 1000)
    assert segment.started_at == 1000.0 + start_ms / 1000
    assert (segment.bytes, segment.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (segment.starts_with_keyframe, segment.discontinuity, made.gap) == (True, False, None)
    assert [file.path.name for file in made.files] == ["init-1.mp4", "000000.m4s"]
    assert {sample.payload for sample in read_fragments(data)} == {packet.data for packet in packets}


def test_the_last_part_ends_after_its_last_frame(recording: Recording, tmp_path: Path) -> None:
    packets = read_packets(clips.make(BOTH))
    made = package(recording, part(tmp_path, 0, packets))
    times = [packet.dts_ms for packet in packets if packet.is_video]
    assert made.segment is not None
    assert made.segment.duration_s == pytest.approx((times[-1] - times[0] + 33) / 1000, abs=0.001)
    assert made.segment.start_ms == times[0]


def test_sound_that_goes_on_alone_counts(recording: Recording, tmp_path: Path) -> None:
    packets = read_packets(clips.make(BOTH))
    sounds = [packet for packet in packets if not packet.is_video]
    made = package(recording, part(tmp_path, 0, [*packets, *shifted(sounds, 1000), *shifted(sounds, 2000)]))
    assert made.segment is not None
    assert made.segment.duration_s == pytest.approx(3.0, abs=0.06)


def test_parts_that_lack_a_track_use_the_same_init_segment(recording: Recording, tmp_path: Path) -> None:
    packets = read_packets(clips.make(BOTH))
    package(recording, part(tmp_path, 0, packets))
    made = package(recording, part(tmp_path, 1, shifted([item for item in packets if not item.is_video], 1000)))
    assert made.segment is not None
    assert (made.segment.init_key, made.segment.discontinuity) == ("talk/r1/init-1.mp4", False)
    assert len(made.files) == 1


def test_new_tracks_need_a_new_init_segment(recording: Recording, tmp_path: Path) -> None:
    package(recording, part(tmp_path, 0, read_packets(clips.make(SOUND))))
    made = package(recording, part(tmp_path, 1, shifted(read_packets(clips.make(BOTH)), 1100)))
    assert made.segment is not None
    assert (made.segment.init_key, made.segment.discontinuity) == ("talk/r1/init-2.mp4", True)


def test_a_hole_is_a_gap_with_its_reason(recording: Recording, tmp_path: Path) -> None:
    packets = read_packets(clips.make(SOUND))
    first = package(recording, part(tmp_path, 0, packets, end_ms=1000)).segment
    assert first is not None
    made = package(recording, part(tmp_path, 1, shifted(packets, 5000), gap="link lost"))
    assert made.gap is not None
    assert made.segment is not None
    assert (made.gap.start_ms, made.gap.length_ms, made.gap.reason) == (1000, 4000, "link lost")
    assert made.segment.discontinuity
    unexplained = package(recording, part(tmp_path, 2, shifted(packets, 9000)))
    assert unexplained.gap is not None
    assert unexplained.gap.reason == NOT_COMMITTED


def test_packaging_again_says_the_same(recording: Recording, tmp_path: Path) -> None:
    packets = read_packets(clips.make(SOUND))
    package(recording, part(tmp_path, 0, packets, end_ms=1000))
    second = part(tmp_path, 1, shifted(packets, 5000), gap="link lost")
    package(recording, part(tmp_path, 2, shifted(packets, 6000)))
    once, again = package(recording, second), package(recording, second)
    assert once.segment == again.segment
    assert once.gap == again.gap
    assert [segment.seq for segment in recording.segments] == [0, 1, 2]


def test_a_part_that_cannot_be_packaged_is_kept_as_it_came(recording: Recording, tmp_path: Path) -> None:
    track = Track(codec=Codec.VP8, codec_string="vp08.00.10.08")
    closed = part(tmp_path, 0, [Packet(track, 0, 0, True, b"\x10\x00\x00\x9d\x01\x2a" + bytes(30))])
    made = package(recording, closed)
    assert made.segment is not None
    assert made.segment.init_key == ""
    assert made.segment.object_key == "talk/r1/000000.raw.flv"
    assert [file.path.name for file in made.files] == ["000000.raw.flv"]
    assert made.segment.bytes == closed.path.stat().st_size


def test_a_part_without_media_is_nothing(recording: Recording, tmp_path: Path) -> None:
    closed = part(tmp_path, 0, read_packets(clips.make(SOUND)))
    closed.path.write_bytes(closed.path.read_bytes()[:500])
    made = package(recording, closed)
    assert (made.segment, made.files) == (None, [])


def test_a_recording_is_taken_up_where_the_catalog_left_it(recording: Recording) -> None:
    rows = [
        SegmentRow(
            seq=seq,
            object_key=f"talk/r1/{seq:06d}.m4s",
            init_key=f"talk/r1/init-{1 + seq // 2}.mp4",
            started_at=1000.0 + 6 * seq,
            start_ms=6000 * seq,
            duration_s=6.0,
            bytes=1,
            sha256="",
            stored=seq != 1,
        )
        for seq in range(3)
    ]
    recording.take_up(RecordingRow(id="r1", channel="talk", state="recording", started_at=1000.0), rows, [])
    assert (recording.next_number, recording.end_ms, recording.ended_at, recording.init_count) == (3, 18000, 1018.0, 2)
    assert not recording.all_stored
    assert [segment.seq for segment in recording.storable()] == [0]
    earlier = recording.earlier()
    assert earlier is not None
    assert (earlier.end_ms, earlier.next_number) == (18000, 3)
