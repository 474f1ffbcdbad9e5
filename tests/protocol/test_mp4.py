"""Fragments: what goes in comes out, byte for byte and tick for tick; ffprobe agrees; nonsense is our error."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.archive.packager import init_segment
from relay.errors import ProtocolError
from relay.media import Codec, Packet, Track, TrackKind
from relay.protocol.flv import TagReader
from relay.protocol.mp4 import Sample, TrackScale, box, boxes, fragment, read_fragments, read_init
from tests.protocol.captures import FILES, flv_file
from tests.protocol.test_flv import packets_of

VIDEO, AUDIO = Track(codec=Codec.H264, header=b"v"), Track(codec=Codec.AAC, header=b"a")
SCALES = {TrackKind.VIDEO: TrackScale(1, 16000), TrackKind.AUDIO: TrackScale(2, 48000)}


def test_a_small_fragment_has_the_bytes_of_the_specification() -> None:
    packets = [Packet(VIDEO, 1000, 1040, True, b"key"), Packet(VIDEO, 1033, 1033, False, b"x")]
    data = fragment(7, packets, {TrackKind.VIDEO: TrackScale(1, 1000)}, base_ms=1000, ends_ms={TrackKind.VIDEO: 1066})
    moof, mdat = boxes(data)
    assert (moof[0], mdat[0]) == (b"moof", b"mdat")
    assert data[mdat[1] : mdat[2]] == b"keyx"
    assert read_fragments(data) == [Sample(1, 0, 40, True, b"key"), Sample(1, 33, 0, False, b"x")]
    trun = data[data.index(b"trun") + 4 :]
    assert trun[:4] == bytes.fromhex("01000f01")
    assert trun[12:28] == bytes.fromhex("00000021 00000003 02000000 00000028")  # 33 ms, 3 bytes, sync, +40 ms
    assert int.from_bytes(trun[8:12], "big") == moof[2] + 8


packets_strategy = st.lists(
    st.tuples(
        st.booleans(), st.integers(1, 100), st.integers(-200, 200), st.booleans(), st.binary(min_size=1, max_size=30)
    ),
    min_size=1,
    max_size=40,
)


@given(packets_strategy, st.integers(0, 2**40))
def test_round_trip_of_bytes_and_milliseconds(sent: list[tuple[bool, int, int, bool, bytes]], base_ms: int) -> None:
    packets, dts = [], base_ms
    for is_video, step, cts, key, payload in sent:
        dts += step
        track = VIDEO if is_video else AUDIO
        packets.append(Packet(track, dts, dts + cts, key or not is_video, payload))
    samples = read_fragments(fragment(1, packets, SCALES, base_ms=base_ms, ends_ms={}))
    for kind, (track_id, rate) in SCALES.items():
        own = [packet for packet in packets if packet.track.kind == kind]
        got = [sample for sample in samples if sample.track_id == track_id]
        assert [sample.payload for sample in got] == [packet.data for packet in own]
        assert [round(sample.dts * 1000 / rate) for sample in got] == [packet.dts_ms - base_ms for packet in own]
        assert [sample.is_sync for sample in got] == [packet.is_keyframe for packet in own]
        assert [round((sample.dts + sample.cts_offset) * 1000 / rate) for sample in got] == [
            packet.pts_ms - base_ms for packet in own
        ]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    for read in (read_fragments, read_init, boxes):
        try:
            read(data)
        except ProtocolError:
            continue


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_fragment_raises_nothing_but_protocol_errors(at: int, value: int) -> None:
    packets = [Packet(VIDEO, dts, dts, dts == 0, b"x" * 20) for dts in range(0, 200, 33)]
    data = bytearray(fragment(1, packets, SCALES, base_ms=0, ends_ms={}))
    data[at % len(data)] = value
    try:
        read_fragments(bytes(data))
    except ProtocolError:
        return


@given(st.integers(1, 300))
def test_fragments_cut_short_are_errors_or_fewer_boxes(cut: int) -> None:
    packets = [Packet(VIDEO, 0, 0, True, b"x" * 20)]
    data = fragment(1, packets, SCALES, base_ms=0, ends_ms={})
    if cut < len(data):
        with pytest.raises(ProtocolError):
            read_fragments(data[:cut])


def test_boxes_of_64_bits_and_bad_sizes() -> None:
    wide = (1).to_bytes(4, "big") + b"mdat" + (20).to_bytes(8, "big") + b"data"
    assert boxes(wide) == [(b"mdat", 16, 20)]
    for bad in (b"\0\0\0\x07free", b"\0\0\0\x20free", b"\0\0"):
        with pytest.raises(ProtocolError):
            boxes(bad)
    assert box(b"free", b"ab") == b"\0\0\0\x0afreeab"


@pytest.mark.parametrize("name", FILES)
async def test_ffprobe_reads_real_media_back_without_a_word(name: str, tmp_path: Path) -> None:
    packets = [
        packet for packet in packets_of(TagReader().feed(flv_file(name))) if name != "ac3" or not packet.is_video
    ]
    init = init_segment(packets)
    base_ms = min(packet.dts_ms for packet in packets)
    file = tmp_path / "segment.mp4"
    file.write_bytes(init.data + fragment(1, packets, init.scales, base_ms=base_ms, ends_ms={}))
    command = ["ffprobe", "-v", "error", "-show_packets", "-show_data_hash", "md5", "-of", "json", str(file)]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=True)
    assert run.stderr == ""
    probed = json.loads(run.stdout)["packets"]
    assert len(probed) == len(packets)
    for kind in ("video", "audio"):
        got = [round(float(item["dts_time"]) * 1000) for item in probed if item["codec_type"] == kind]
        assert got == [packet.dts_ms - base_ms for packet in packets if packet.track.kind == kind]
