"""Fragments: their bytes, round trip, damage, and captured sessions played back by ffprobe."""

import asyncio
import hashlib
import json
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.archive.packager import init_segment
from relay.errors import ProtocolError
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol.mp4 import (
    Run,
    Sample,
    TrackScale,
    box,
    boxes,
    fragment,
    read_fragments,
    read_init,
    read_runs,
    write_runs,
)
from tests.protocol.captures import FILES
from tests.protocol.damage import value_or_error
from tests.protocol.flv_files import read_file

VIDEO, AUDIO = Track(codec=Codec.H264), Track(codec=Codec.AAC)
SCALES = {TrackKind.VIDEO: TrackScale(1, 16000), TrackKind.AUDIO: TrackScale(2, 48000)}

# name, box, bytes
BOXES = [
    ("empty", (b"free", b""), "0000000866726565"),
    ("of parts", (b"mdat", b"ab", b"c"), "0000000b6d646174616263"),
]


@pytest.mark.parametrize(("name", "parts", "hex_"), BOXES, ids=[row[0] for row in BOXES])
def test_boxes_both_ways(name: str, parts: tuple[bytes, ...], hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert box(*parts) == data
    assert boxes(b"xx" + data, 2) == [(parts[0], 10, len(data) + 2)]


def test_a_large_box_is_read() -> None:
    assert boxes(bytes.fromhex("000000016d64617400000000000000120102")) == [(b"mdat", 16, 18)]


SEGMENT = (
    "00000088" + "6d6f6f66"  # moof
    + "00000010" + "6d666864" + "00000000" + "00000007"  # mfhd: sequence number
    + "00000070" + "74726166"  # traf
    + "00000010" + "74666864" + "00020000" + "00000001"  # tfhd: default-base-is-moof, track
    + "00000014" + "74666474" + "01000000" + "0000000000003e80"  # tfdt: 1 s of 16000 ticks
    + "00000044" + "7472756e" + "01000f01" + "00000003" + "00000090"  # trun: 3 samples, from 0x90 on
    + "00000280" + "00000003" + "02000000" + "00000280"  # 40 ms, 3 bytes, sync, shown 40 ms later
    + "00000280" + "00000002" + "01010000" + "00000500"
    + "00000320" + "00000001" + "01010000" + "fffffd80"  # 50 ms up to the end, shown 40 ms earlier
    + "0000000e" + "6d646174" + "6b6579" + "6262" + "63"
)  # fmt: skip
PACKETS = [
    Packet(VIDEO, 3000, 3040, True, b"key"),
    Packet(VIDEO, 3040, 3120, False, b"bb"),
    Packet(VIDEO, 3080, 3040, False, b"c"),
]
SAMPLES = [
    Sample(1, 16000, 640, True, b"key"),
    Sample(1, 16640, 1280, False, b"bb"),
    Sample(1, 17280, -640, False, b"c"),
]


def test_a_fragment_byte_by_byte_both_ways() -> None:
    data = bytes.fromhex(SEGMENT)
    assert fragment(7, PACKETS, SCALES, base_ms=2000, ends_ms={TrackKind.VIDEO: 3130}) == data
    assert read_fragments(data) == SAMPLES


def durations(packets: list[Packet], ends: dict[TrackKind, int], base_ms: int = 0) -> list[int]:
    data = fragment(1, packets, SCALES, base_ms=base_ms, ends_ms=ends)
    at = data.index(b"trun") + 16
    return [struct.unpack_from(">I", data, at + 16 * index)[0] for index in range(len(packets))]


def test_the_last_sample_lasts_as_its_end_says_or_as_the_one_before() -> None:
    assert durations(PACKETS, {TrackKind.VIDEO: 3100}) == [640, 640, 320]
    assert durations(PACKETS, {}) == [640, 640, 640]
    assert durations(PACKETS, {TrackKind.VIDEO: 3080}) == [640, 640, 640], "an end before the end is none"
    assert durations(PACKETS[:1], {}) == [33 * 16]
    assert durations([Packet(AUDIO, 0, 0, True, b"a")], {}) == [21 * 48]


def test_what_is_earlier_than_the_base_is_at_nought() -> None:
    data = fragment(1, PACKETS, SCALES, base_ms=3030, ends_ms={})
    assert [(sample.dts, sample.dts + sample.cts_offset) for sample in read_fragments(data)] == [
        (0, 160),
        (160, 1440),
        (800, 160),
    ]


def test_sound_before_the_base_is_heard_at_nought() -> None:
    packets = [Packet(AUDIO, dts_ms, dts_ms, True, b"a") for dts_ms in (-21, 0, 21)]
    samples = read_fragments(fragment(1, packets, SCALES, base_ms=0, ends_ms={}))
    assert [(sample.dts, sample.cts_offset) for sample in samples] == [(0, 0), (0, 0), (21 * 48, 0)]


def test_a_picture_shown_before_the_base_keeps_its_distance() -> None:
    packets = [Packet(VIDEO, 0, -40, True, b"k"), Packet(VIDEO, 40, 40, False, b"b")]
    data = fragment(1, packets, SCALES, base_ms=0, ends_ms={})
    assert [sample.cts_offset for sample in read_fragments(data)] == [-640, 0]


def test_times_beyond_32_bits() -> None:
    late = 1 << 40
    packet = Packet(VIDEO, late, late, True, b"k")
    assert read_fragments(fragment(1, [packet], SCALES, base_ms=0, ends_ms={}))[0].dts == late * 16


@st.composite
def runs(draw: st.DrawFn) -> list[Packet]:
    packets = []
    for track in (VIDEO, AUDIO):
        dts_ms = draw(st.integers(0, 1 << 33))
        for _ in range(draw(st.integers(0, 8))):
            cts = draw(st.integers(-500, 500)) if track is VIDEO else 0
            key = track is AUDIO or draw(st.booleans())
            packets.append(Packet(track, dts_ms, dts_ms + cts, key, draw(st.binary(max_size=20))))
            dts_ms += draw(st.integers(1, 100_000))
    return draw(st.permutations(packets)) if len(packets) < 2 else sorted(packets, key=lambda packet: packet.dts_ms)


@given(runs(), st.sampled_from([1000, 16000, 44100, 48000, 90000]))
def test_packets_round_trip(packets: list[Packet], rate: int) -> None:
    """Sums of durations land within half a tick of each packet's own time, however long the run."""
    scales = {TrackKind.VIDEO: TrackScale(1, rate), TrackKind.AUDIO: TrackScale(2, rate)}
    samples = read_fragments(fragment(1, packets, scales, base_ms=0, ends_ms={}))
    ordered = [packet for kind in (True, False) for packet in packets if packet.is_video is kind]
    assert [(s.track_id, s.is_sync, s.payload) for s in samples] == [
        (1 if packet.is_video else 2, packet.is_keyframe, packet.data) for packet in ordered
    ]
    for sample, packet in zip(samples, ordered, strict=True):
        assert abs(sample.dts - Fraction(packet.dts_ms * rate, 1000)) <= Fraction(1, 2)
        assert abs(sample.dts + sample.cts_offset - Fraction(packet.pts_ms * rate, 1000)) <= Fraction(1, 2)


@given(runs(), st.data())
def test_runs_round_trip_and_part_anywhere(packets: list[Packet], data: st.DataObject) -> None:
    """Read and written again a segment is the same, and the parts of a run make up the run."""
    segment = fragment(3, packets, SCALES, base_ms=0, ends_ms={})
    found = read_runs(segment)
    assert write_runs(3, found) == segment
    for run in found:
        samples = list(run.samples())
        cut = data.draw(st.integers(0, len(samples)))
        first, second = run.part(0, cut), run.part(cut, len(samples))
        assert [*first.samples(), *second.samples()] == samples
        assert bytes(first.payload) + bytes(second.payload) == bytes(run.payload)
        assert (first.end, second.end) == (second.dts, run.end)
        assert Run(run.track_id, run.dts, first.table + second.table, run.payload) == run
        moved = read_runs(write_runs(9, [second._replace(dts=second.dts + 5)]))
        assert [dts for dts, _, _ in moved[0].samples()] == [dts + 5 for dts, _, _ in samples[cut:]]


def test_a_segment_of_several_fragments_is_not_taken_apart() -> None:
    segment = bytes.fromhex(SEGMENT)
    assert [(run.track_id, run.dts, run.end, bytes(run.payload)) for run in read_runs(segment)] == [
        (1, 16000, 18080, b"keybbc")
    ]
    for damaged in (b"", segment * 2, box(b"mdat", b"x")):
        with pytest.raises(ProtocolError, match="movie fragments in the segment"):
            read_runs(damaged)


@given(runs(), st.integers(0, 16))
def test_cutting_a_run_into_fragments_changes_no_sample(packets: list[Packet], cut: int) -> None:
    head, rest = packets[:cut], packets[cut:]
    ends = {packet.track.kind: packet.dts_ms for packet in reversed(rest)}
    first = fragment(1, head, SCALES, base_ms=0, ends_ms=ends) if head else b""
    second = fragment(2, rest, SCALES, base_ms=0, ends_ms={}) if rest else b""
    whole = read_fragments(fragment(1, packets, SCALES, base_ms=0, ends_ms={}))
    assert sorted(read_fragments(first + second)) == sorted(whole)


def replaced(old: str, new: str) -> bytes:
    assert old in SEGMENT
    return bytes.fromhex(SEGMENT.replace(old, new, 1))


BROKEN = [
    ("not boxes", b"\0\0\0\x08", "cut short"),
    ("a box larger than the file", bytes.fromhex("00000009") + b"free", "does not fit"),
    ("a box smaller than itself", bytes.fromhex("00000007") + b"free", "does not fit"),
    ("a box to the end of the file", bytes(4) + b"mdat" + bytes(8), "does not fit"),
    ("no fragment", box(b"mdat", b"abc"), "no movie fragment"),
    ("no header", box(b"moof", box(b"traf")), "without b'tfhd'"),
    ("no samples", box(b"moof", box(b"traf", box(b"tfhd", bytes(8)), box(b"tfdt", bytes(12)))), "without b'trun'"),
    ("a short header", box(b"moof", box(b"traf", box(b"tfhd", bytes(4)))), "cut short"),
    ("other flags", replaced("01000f01", "00000301"), "somebody else"),
    ("more samples than told", replaced("00000003" + "00000090", "0000ffff" + "00000090"), "somebody else"),
    ("data before the fragment", replaced("00000090", "fffffff0"), "somebody else"),
    ("data behind the file", replaced("00000090", "00001000"), "data is cut short"),
]


@pytest.mark.parametrize(("name", "data", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_fragments_are_refused(name: str, data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read_fragments(data)


@pytest.mark.parametrize("end", range(1, len(SEGMENT) // 2))
def test_a_fragment_cut_short_is_refused(end: int) -> None:
    data = bytes.fromhex(SEGMENT)[:end]
    if end == 0x88:  # the whole moof, and nothing of its data
        assert boxes(data) == [(b"moof", 8, 0x88)]
    with pytest.raises(ProtocolError):
        read_fragments(data)


def test_fragments_may_not_all_be_the_same_data() -> None:
    """A small file that says its data over and over would otherwise fill the memory."""
    traf = bytes.fromhex(SEGMENT)[24:136].replace(struct.pack(">II", 640, 3), struct.pack(">II", 640, 3000))
    moof = box(b"moof", *[traf.replace(bytes.fromhex("00000090"), bytes.fromhex("00000008"))] * 30)
    with pytest.raises(ProtocolError, match="share their data"):
        read_fragments(moof + box(b"mdat", bytes(8)))


@given(st.lists(st.tuples(st.integers(0, len(SEGMENT) // 2 - 1), st.integers(0, 255)), max_size=4), st.integers(0, 160))
def test_damaged_fragments_make_samples_or_a_protocol_error(damage: list[tuple[int, int]], end: int) -> None:
    data = bytearray(bytes.fromhex(SEGMENT))
    for at, value in damage:
        data[at] = value
    samples = value_or_error(read_fragments, bytes(data[:end]))
    assert isinstance(samples, ProtocolError) or sum(len(sample.payload) for sample in samples) <= len(data)


@given(st.binary(max_size=80))
def test_any_bytes_make_an_init_segment_or_a_protocol_error(data: bytes) -> None:
    assert isinstance(value_or_error(read_init, data), ProtocolError)
    assert isinstance(value_or_error(read_init, box(b"moov", box(b"trak", data))), ProtocolError)


def init_of(timescale: int, *, wide: bool, handler: bytes = b"vide") -> bytes:
    times = bytes(16 if wide else 8)
    version = bytes((wide, 0, 0, 0))
    tkhd = box(b"tkhd", version, times, struct.pack(">I", 3), bytes(60))
    mdhd = box(b"mdhd", version, times, struct.pack(">I", timescale), bytes(12))
    return box(b"moov", box(b"trak", tkhd, box(b"mdia", mdhd, box(b"hdlr", bytes(8), handler, bytes(13)))))


@pytest.mark.parametrize("wide", [False, True])
def test_init_segments_of_both_versions(wide: bool) -> None:
    assert read_init(init_of(90000, wide=wide)) == {TrackKind.VIDEO: TrackScale(3, 90000)}
    assert read_init(init_of(44100, wide=wide, handler=b"soun")) == {TrackKind.AUDIO: TrackScale(3, 44100)}
    with pytest.raises(ProtocolError, match="no tracks"):
        read_init(init_of(90000, wide=wide, handler=b"text"))
    with pytest.raises(ProtocolError, match="timescale"):
        read_init(init_of(0, wide=wide))


async def ffprobe(path: Path) -> list[tuple[str, Fraction, Fraction, bool, str]]:
    """(kind, DTS ms, PTS ms, keyframe, SHA-256) of each packet; fails when ffprobe prints any complaint."""
    child = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "warning", "-of", "json", "-show_streams", "-show_packets", "-show_data_hash", "sha256",
        str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert (child.returncode, err.decode()) == (0, "")
    found = json.loads(out)
    streams = {stream["index"]: stream for stream in found["streams"]}
    rows = []
    for packet in found["packets"]:
        stream = streams[packet["stream_index"]]
        ms = 1000 * Fraction(stream["time_base"])
        digest = packet["data_hash"].removeprefix("SHA256:")
        rows.append((stream["codec_type"], packet["dts"] * ms, packet["pts"] * ms, "K" in packet["flags"], digest))
    return rows


@pytest.mark.parametrize("name", FILES)
async def test_captured_sessions_in_fragments_are_what_ffprobe_reads(name: str, tmp_path: Path) -> None:
    packets, _ = read_file(name)
    base_ms = packets[0].dts_ms
    init = await asyncio.to_thread(init_segment, packets)
    third = len(packets) // 3
    parts = [init.data]
    for number, start in enumerate((0, third, 2 * third)):
        run = packets[start : start + third] if number < 2 else packets[start:]
        ends = {packet.track.kind: packet.dts_ms for packet in reversed(packets[start + len(run) :])}
        parts.append(fragment(number + 1, run, init.scales, base_ms=base_ms, ends_ms=ends))
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(b"".join(parts))
    expected = [
        (
            str(packet.track.kind),
            Fraction(packet.dts_ms - base_ms),
            Fraction(packet.pts_ms - base_ms),
            packet.is_keyframe,
            hashlib.sha256(packet.data).hexdigest(),
        )
        for packet in packets
    ]
    seen = await ffprobe(path)
    for kind in TrackKind:
        assert [row for row in seen if row[0] == kind] == [row for row in expected if row[0] == kind]
