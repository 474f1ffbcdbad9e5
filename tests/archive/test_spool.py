"""Spool parts: what is written is read back, and whatever happens to the tail, only verified media comes out."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.archive import spool
from relay.archive.spool import (
    NOTE_CHARS,
    PartInfo,
    commit_tag,
    commits,
    note_tag,
    part_header,
    read_info,
    read_part,
    recover,
)
from relay.errors import SpoolError
from relay.hub.batch import Note
from relay.media import Codec, Packet, Track
from relay.protocol import amf0, flv
from tests.archive.media import batches, read_packets
from tests.support import clips

INFO = PartInfo(
    recording="20261124T112700Z-ab12cd",
    channel="talk",
    seq=7,
    base_ms=5_000_000_000,
    start_ms=5_000_000_040,
    recording_base_ms=4_999_000_000,
    first_seq=41,
    started_at=1795519620.25,
    recording_started_at=1795519600.5,
    gap="link lost",
)
MP3 = Track(codec=Codec.MP3, sample_rate=44100, channels=2, codec_string="mp4a.6b")
FRAME = b"\xff\xfb\x90\x64" + bytes(20)


def write(path: Path, info: PartInfo, runs: list[list[Packet]]) -> list[int]:
    """A part with one commit for each run; where each commit ends."""
    data, ends, sealed, seq = b"", [], 0, info.first_seq - 1
    packets = 0
    for run in runs:
        head = part_header(info, (None, None)) if not data else b""
        content = head + flv.encode_batch(run, (None, None), info.base_ms)
        seq += len(run)
        packets += len(run)
        offset = len(data) + len(content)
        data += content + commit_tag(content, offset=offset, seq=seq, packets=packets, timestamp=0)
        sealed = len(data)
        ends.append(sealed)
    path.write_bytes(data)
    return ends


def sound(count: int, start_ms: int = INFO.start_ms) -> list[Packet]:
    return [Packet(MP3, start_ms + 26 * n, start_ms + 26 * n, True, FRAME + bytes([n % 256])) for n in range(count)]


def test_a_part_says_what_it_is_and_gives_back_its_packets(tmp_path: Path) -> None:
    packets = sound(30)
    path = tmp_path / "000007.flv"
    ends = write(path, INFO, [packets[:10], packets[10:]])
    part = read_part(path)
    assert part is not None
    assert part.info == INFO == read_info(path)
    assert [packet[1:] for packet in part.packets] == [packet[1:] for packet in packets]
    assert (part.verified_length, part.last_seq) == (ends[-1], 70)


def test_a_part_says_what_it_is_whatever_its_tail_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "000007.flv.part"
    write(path, INFO, [sound(10)])
    with path.open("ab") as file:
        file.write(b"no tag of any kind")
    assert read_info(path) == INFO
    path.write_bytes(path.read_bytes()[:200])
    assert read_info(path) is None


def test_packets_older_than_the_base_keep_their_times(tmp_path: Path) -> None:
    packets = sound(3, INFO.base_ms - 30)
    write(tmp_path / "a.flv", replace(INFO, start_ms=packets[0].dts_ms), [packets])
    part = read_part(tmp_path / "a.flv")
    assert part is not None
    assert [packet.dts_ms for packet in part.packets] == [packet.dts_ms for packet in packets]


def test_a_part_is_plain_flv_for_any_player(tmp_path: Path) -> None:
    packets = read_packets(clips.make(clips.H264_B))
    path = tmp_path / "000000.flv"
    write(path, replace(INFO, base_ms=0, start_ms=0), batches(packets, 250))
    words = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=codec_type,nb_read_packets"]
    done = subprocess.run([*words, "-of", "csv=p=0", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    counts = dict(line.split(",") for line in done.stdout.split())
    assert int(counts["video"]) + int(counts["audio"]) == len(packets)


def test_a_tail_cut_anywhere_leaves_the_commits_before_it(tmp_path: Path) -> None:
    packets = sound(12)
    path = tmp_path / "000007.flv.part"
    ends = [0, *write(path, INFO, [packets[:4], packets[4:8], packets[8:]])]
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        good = max(end for end in ends if end <= length)
        assert recover(path) == good, length
        part = read_part(path)
        assert (0 if part is None else len(part.packets)) == 4 * ends.index(good)


def test_any_flipped_bit_ends_the_part_before_its_commit(tmp_path: Path) -> None:
    packets = sound(6)
    path = tmp_path / "000007.flv"
    first, second = write(path, INFO, [packets[:3], packets[3:]])
    data = path.read_bytes()
    for at in range(first, second):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            assert [commit.end for commit in commits(bytes(damaged))] == [first], (at, bit)


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_bytes_that_are_no_part_hold_nothing(garbage: bytes) -> None:
    assert list(commits(garbage)) == []


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 1 << 40))
@settings(max_examples=30)
def test_every_run_is_found_again(tmp_path_factory: pytest.TempPathFactory, runs: list[int], base_ms: int) -> None:
    path = tmp_path_factory.mktemp("part") / "000007.flv"
    info = replace(INFO, base_ms=base_ms, start_ms=base_ms)
    packets = sound(sum(runs), base_ms)
    cut = [packets[sum(runs[:n]) : sum(runs[: n + 1])] for n in range(len(runs))]
    ends = write(path, info, cut)
    assert [commit.end for commit in commits(path.read_bytes())] == ends
    part = read_part(path)
    assert part is not None
    assert [packet.data for packet in part.packets] == [packet.data for packet in packets]


def test_only_commits_before_a_later_part_count(tmp_path: Path) -> None:
    packets = sound(9)
    path = tmp_path / "000007.flv.part"
    ends = write(path, INFO, [packets[:3], packets[3:6], packets[6:]])
    assert recover(path, before_seq=INFO.first_seq + 6) == ends[1]
    part = read_part(path, before_seq=INFO.first_seq + 3)
    assert part is not None
    assert len(part.packets) == 3


def test_a_part_that_cannot_be_read_is_a_spool_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"000001\.flv"):
        read_part(tmp_path / "000001.flv")


@pytest.mark.parametrize("name", ["seq", "baseMs", "firstSeq", "startedAt", "recordingStartedAt"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, -1e300, "x", None])
def test_numbers_that_are_none_make_no_part(tmp_path: Path, name: str, value: amf0.AmfValue) -> None:
    path = tmp_path / "000007.flv"
    (tag,) = flv.TagReader().feed(part_header(INFO, (None, None)))
    _, values = amf0.decode(tag.body)
    assert isinstance(values, dict)
    values["fieldRelay"] = {**values["fieldRelay"], name: value}  # type: ignore[dict-item]
    body = amf0.encode("onMetaData", amf0.EcmaArray(values))
    run = flv.file_header(has_video=True, has_audio=True) + flv.tag(flv.SCRIPT, 0, body)
    path.write_bytes(run + commit_tag(run, offset=len(run), seq=1, packets=1, timestamp=0))
    assert read_info(path) is None
    with pytest.raises(SpoolError, match="not a part"):
        read_part(path)


def test_a_recording_has_a_folder_that_goes_when_empty(tmp_path: Path) -> None:
    one = spool.Spool(tmp_path)
    assert one.folders() == []
    folder = one.folder("talk", "r1")
    folder.mkdir(parents=True)
    assert one.folders() == [folder]
    (folder / "000001.flv").write_bytes(b"")
    one.remove(folder)
    assert folder.exists()
    (folder / "000001.flv").unlink()
    one.remove(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [("000012.flv", 12), ("000012.flv.part", 12), ("1234567.flv", 1234567), ("000012.m4s", None), ("x.flv", None)],
)
def test_part_numbers(name: str, number: int | None) -> None:
    assert spool.part_number(Path(name)) == number


def noted(path: Path, notes: list[tuple[str, int]]) -> list[int]:
    """A part of batches that came with notes, each a commit of its own; where each commit ends."""
    data, ends, seq = part_header(INFO, (MP3, MP3)), [], INFO.first_seq - 1
    sealed = 0
    for text, count in notes:
        data += note_tag(Note(text, count), 0) if text else b""
        data += flv.encode_batch(sound(count), (None, MP3), INFO.base_ms)
        seq += count
        packets = seq - INFO.first_seq + 1
        data += commit_tag(data[sealed:], offset=len(data), seq=seq, packets=packets, timestamp=0)
        sealed = len(data)
        ends.append(sealed)
    path.write_bytes(data)
    return ends


@given(
    st.lists(st.tuples(st.sampled_from(["", "a.ts", "b.ts é", "\0\ud800"]), st.integers(1, 4)), min_size=1, max_size=4)
)
@settings(max_examples=15, deadline=None)
def test_notes_never_count_more_packets_than_a_tail_cut_anywhere_leaves(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("noted") / "000007.flv.part"
    ends = [0, *noted(path, wanted)]
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        kept = wanted[: ends.index(max(end for end in ends if end <= length))]
        part = read_part(path)
        assert (0 if part is None else len(part.packets)) == sum(count for _, count in kept), length
        found = [] if part is None else [(note.text, note.packets) for note in part.notes]
        assert found == [(text.replace("\ud800", "?"), count) for text, count in kept if text]


def test_a_note_whose_packets_are_not_all_there_counts_those_that_are(tmp_path: Path) -> None:
    run = part_header(INFO, (None, MP3)) + note_tag(Note("a.ts", 9), 0)
    run += flv.encode_batch(sound(3), (None, MP3), INFO.base_ms) + note_tag(Note("x" * 5000, 7), 0)
    run += flv.encode_batch(sound(2), (None, MP3), INFO.base_ms) + note_tag(Note("nothing of it", 2), 0)
    path = tmp_path / "000007.flv"
    path.write_bytes(run + commit_tag(run, offset=len(run), seq=45, packets=5, timestamp=0))
    part = read_part(path)
    assert part is not None
    assert part.notes == [Note("a.ts", 3), Note("x" * NOTE_CHARS, 2)]


def test_a_part_with_notes_is_plain_flv_for_any_player(tmp_path: Path) -> None:
    packets = read_packets(clips.make(clips.H264_B))
    path = tmp_path / "000000.flv"
    half = len(packets) // 2
    data = part_header(replace(INFO, base_ms=0, start_ms=0), (None, None))
    for run in (packets[:half], packets[half:]):
        data += note_tag(Note("segment.ts", len(run)), run[0].dts_ms) + flv.encode_batch(run, (None, None))
    path.write_bytes(data)
    words = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=codec_type,nb_read_packets"]
    done = subprocess.run([*words, "-of", "csv=p=0", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    counts = dict(line.split(",") for line in done.stdout.split() if line.startswith(("video", "audio")))
    assert int(counts["video"]) + int(counts["audio"]) == len(packets)
