"""Repeated keyframes: real encoders' streams decode clean with a hold in them, slices by property, damage."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.media import Codec, Packet, Track
from relay.protocol import flv
from relay.protocol.freeze import frozen, rejoining, self_contained
from relay.protocol.h264 import header_units, nal_units
from tests.protocol.bit_writer import BitWriter, escape
from tests.protocol.flv_files import packets_of, read_file
from tests.protocol.freezing import WAYS, encode, hold, pictures, write
from tests.support import clips
from tests.support.clips import DEBIAN_FFMPEG, new_ffmpeg

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "24", "-sc_threshold", "0", "-preset", "veryfast")
H264 = {
    "baseline, CAVLC, order count type 2": (*X264, "-profile:v", "baseline"),
    "main, CABAC, B-frames": (*X264, "-profile:v", "main", "-bf", "3"),
    "high": (*X264, "-profile:v", "high", "-x264-params", "8x8dct=1"),
    "high, CAVLC, B-frames": (*X264, "-coder", "0", "-bf", "2"),
    "no B-frames": (*X264, "-bf", "0"),
    "slices": (*X264, "-x264-params", "slices=4"),
    "slices, CAVLC": (*X264, "-coder", "0", "-x264-params", "slices=4"),
    "slices of a packet's size": (*X264, "-x264-params", "slice-max-size=700"),
    "interlaced": (*X264, "-flags", "+ildct+ilme"),
    "interlaced, CAVLC, slices": (*X264, "-coder", "0", "-flags", "+ildct+ilme", "-x264-params", "slices=2"),
    "frames in an interlaced sequence": (*X264, "-x264-params", "fake-interlaced=1"),
    "delimiters and parameter sets in the stream": (*X264, "-x264-params", "aud=1:repeat-headers=1"),
    "no loop filter": (*X264, "-x264-params", "no-deblock=1"),
    "loop filter offsets": (*X264, "-x264-params", "deblock=-2,1"),
    "lossless": (*X264, "-qp", "0"),
    "4:4:4": (*X264, "-pix_fmt", "yuv444p"),
    "10 bit": (*X264, "-pix_fmt", "yuv420p10le"),
    "monochrome": (*X264, "-pix_fmt", "gray"),
}
REST = {
    "HEVC": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=24:open-gop=0"),
    "VP9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "AV1": ("-c:v", "libsvtav1", "-preset", "12"),
}


@pytest.mark.parametrize("name", H264)
def test_h264_decodes_clean_and_shows_the_keyframe(name: str, tmp_path: Path) -> None:
    live = encode(tmp_path, H264[name])
    held, equal_to = hold(live)
    assert len({packet.data for packet in held}) == len(live) + 2
    wanted = pictures(write(tmp_path / "live.flv", live))
    for container, ffmpeg in WAYS:
        path = write(tmp_path / f"held.{container}", held)
        assert pictures(path, ffmpeg=ffmpeg) == [wanted[number] for number in equal_to]


@pytest.mark.parametrize("coder", ["0", "1"])
def test_a_big_picture(coder: str, tmp_path: Path) -> None:
    live = encode(tmp_path, (*X264, "-crf", "14", "-coder", coder), size="1280x720", frames=3)
    assert len(live[0].data) > 200_000
    held, equal_to = hold(live)
    wanted = pictures(write(tmp_path / "live.flv", live))
    assert pictures(write(tmp_path / "held.flv", held)) == [wanted[number] for number in equal_to]


@pytest.mark.parametrize("extra", [(), ("-coder", "0"), ("-flags", "+ildct+ilme")])
def test_an_intra_picture_that_is_no_idr_picture_is_made_one(extra: tuple[str, ...], tmp_path: Path) -> None:
    live = encode(tmp_path, (*X264, "-bf", "3", "-x264-params", "open-gop=1:b-adapt=0", *extra), frames=36)
    keyframes = [packet for packet in live if packet.is_keyframe]
    assert [nal_types(packet).count(5) for packet in keyframes] == [1, 0]
    assert [nal_types(packet).count(5) for packet in frozen(keyframes[1])] == [1, 1]
    held, equal_to = hold(live, of=1)
    wanted = pictures(write(tmp_path / "live.flv", live))
    for container, ffmpeg in WAYS:
        path = write(tmp_path / f"held.{container}", held)
        assert pictures(path, ffmpeg=ffmpeg) == [wanted[number] for number in equal_to]


def nal_types(packet: Packet) -> list[int]:
    found, at = [], 0
    while at < len(packet.data):
        found.append(packet.data[at + 4] & 0x1F)
        at += 4 + int.from_bytes(packet.data[at : at + 4], "big")
    return found


@pytest.mark.parametrize("encoder", ["openh264enc complexity=low", "x264enc tune=zerolatency byte-stream=false"])
def test_gstreamers_encoders(encoder: str, tmp_path: Path) -> None:
    path = tmp_path / "gst.flv"
    line = f"videotestsrc num-buffers=24 pattern=ball ! video/x-raw,width=320,height=180,framerate=24/1 ! {encoder}"
    words = ["gst-launch-1.0", "-q", *line.split(), *f"! h264parse ! flvmux ! filesink location={path}".split()]
    subprocess.run(words, check=True, timeout=60, capture_output=True)
    live = packets_of(flv.TagReader().feed(path.read_bytes()))
    held, equal_to = hold(live)
    wanted = pictures(write(tmp_path / "live.flv", live))
    assert len(frozen(live[0])) == 2
    for ffmpeg in (DEBIAN_FFMPEG, new_ffmpeg()):
        assert pictures(write(tmp_path / "held.flv", held), ffmpeg=ffmpeg) == [wanted[number] for number in equal_to]


@pytest.mark.parametrize("name", REST)
def test_other_codecs_repeat_as_they_are(name: str, tmp_path: Path) -> None:
    live = encode(tmp_path, REST[name])
    assert frozen(live[0]) == (live[0],)
    assert rejoining(live[0]) is live[0]
    held, equal_to = hold(live)
    wanted = pictures(write(tmp_path / "live.flv", live), ffmpeg=new_ffmpeg())
    path = write(tmp_path / "held.flv", held)
    assert pictures(path, ffmpeg=new_ffmpeg()) == [wanted[number] for number in equal_to]


def test_hevc_of_open_groups(tmp_path: Path) -> None:
    encoder = (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none:keyint=12:open-gop=1:bframes=2",
    )
    live = encode(tmp_path, encoder, frames=36)
    keyframe = [packet for packet in live if packet.is_keyframe][1]
    (repeat,) = frozen(keyframe)
    assert [(one ^ other) for one, other in zip(keyframe.data, repeat.data, strict=True) if one != other] == [
        (21 ^ 18) << 1
    ]
    held, equal_to = hold(live, of=1)
    wanted = pictures(write(tmp_path / "live.mp4", live))
    assert pictures(write(tmp_path / "held.mp4", held)) == [wanted[number] for number in equal_to]
    assert rejoining(keyframe) not in (keyframe, repeat)


# --- slices made up bit by bit ---------------------------------------------------------------------------------------

FLAG = st.booleans().map(int)
# Runs of the bytes that emulation prevention is about, and noise.
PAYLOAD = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=60).map(bytes) | st.binary(max_size=60)


@st.composite
def keyframes(draw: st.DrawFn) -> tuple[Packet, list[Packet]]:
    """A made-up IDR picture with any idr_pic_id below 65533, and what its two variants must be."""
    separate, frames_only, frame_num_bits = draw(FLAG), draw(FLAG), draw(st.integers(4, 16))
    poc_type, poc_bits, always_zero = draw(st.integers(0, 2)), draw(st.integers(4, 16)), draw(FLAG)
    cabac, bottom, deblocking, redundant = draw(FLAG), draw(FLAG), draw(FLAG), draw(FLAG)
    sps = BitWriter().u(8, 0x67).u(8, 244).u(16, 30).ue(0).ue(3).u(1, separate).ue(0).ue(0).u(1, 0).u(1, 0)
    sps = sps.ue(frame_num_bits - 4).ue(poc_type)
    if poc_type == 0:
        sps = sps.ue(poc_bits - 4)
    elif poc_type == 1:
        sps = sps.u(1, always_zero).se(-1).se(2).ue(2).se(3).se(-4)
    sps = sps.ue(1).u(1, 0).ue(9).ue(9).u(1, frames_only)
    sps = (sps if frames_only else sps.u(1, 0)).u(1, 0).u(1, 0).u(1, 0).u(1, 1)
    pps = BitWriter().u(8, 0x68).ue(3).ue(0).u(1, cabac).u(1, bottom).ue(0).ue(0).ue(0).u(1, 0).u(2, 0)
    pps = pps.se(-3).se(0).se(2).u(1, deblocking).u(1, 0).u(1, redundant).u(1, 1)
    number = draw(st.integers(0, 65532))
    size = draw(st.sampled_from([2, 4]))
    versions: list[list[bytes]] = [[], [], []]
    for _ in range(draw(st.integers(1, 3))):
        kind, field, payload = draw(st.sampled_from([2, 7])), draw(FLAG), draw(PAYLOAD)
        extra, loose = draw(st.integers(0, 7)), draw(st.integers(0, 127))
        order, delta, flags = draw(st.integers(0, 15)), draw(st.integers(-9, 9)), draw(st.integers(0, 1))
        for units, own in zip(versions, (number, 65534, 65535), strict=True):
            slice_ = BitWriter().u(8, 0x65).ue(order).ue(kind).ue(3).u(2 * separate, separate).u(frame_num_bits, 0)
            if not frames_only:
                slice_ = slice_.u(1, field)
                slice_ = slice_.u(1, flags) if field else slice_
            slice_ = slice_.ue(own)
            is_frame = frames_only or not field
            if poc_type == 0:
                slice_ = slice_.u(poc_bits, order)
                slice_ = slice_.se(delta) if bottom and is_frame else slice_
            elif poc_type == 1 and not always_zero:
                slice_ = slice_.se(delta)
                slice_ = slice_.se(-delta) if bottom and is_frame else slice_
            slice_ = slice_.ue(order) if redundant else slice_
            # no_output_of_prior_pics_flag may be set in what came, never in a repeat
            slice_ = slice_.u(1, flags if own == number else 0).u(1, flags).se(delta)
            if deblocking:
                slice_ = slice_.ue(flags)
                slice_ = slice_ if flags else slice_.se(delta).se(0)
            if cabac:
                slice_.text += "1" * (-len(slice_.text) % 8)
                rbsp = slice_.data() + payload + b"\x80"
            else:
                slice_ = slice_.u(extra, loose & (1 << extra) - 1)
                slice_.text += "".join(f"{byte:08b}" for byte in payload)
                rbsp = slice_.u(1, 1).data()
            units.append(escape(rbsp))
    sets = (escape(sps.data()), escape(pps.data()))
    header = b"\x01\xf4\x00\x1e" + bytes((0xFC | size - 1, 0xE1)) + len(sets[0]).to_bytes(2, "big") + sets[0]
    header += b"\x01" + len(sets[1]).to_bytes(2, "big") + sets[1]
    packets = [
        Packet(
            Track(codec=Codec.H264, header=header), 40, 80, True,
            b"".join(len(unit).to_bytes(size, "big") + unit for unit in units),
        )
        for units in versions
    ]  # fmt: skip
    return packets[0], packets[1:]


@given(keyframes())
def test_any_intra_slice_is_numbered_afresh_and_else_kept(made: tuple[Packet, list[Packet]]) -> None:
    packet, variants = made
    assert frozen(packet) == tuple(variants)


@given(keyframes())
def test_a_repeat_of_a_repeat_differs_from_it(made: tuple[Packet, list[Packet]]) -> None:
    for variant in made[1]:
        row = [variant, *frozen(variant), *frozen(variant)]
        assert all(one.data != other.data for one, other in pairwise(row))
        assert len(set(row)) == 3


# --- what cannot be rewritten ----------------------------------------------------------------------------------------


@given(keyframes(), st.data())
def test_damage_gives_the_packet_itself_or_something_and_never_an_error(
    made: tuple[Packet, list[Packet]], data: st.DataObject
) -> None:
    packet = made[0]
    raw = bytearray(packet.data)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    header = packet.track.header[: data.draw(st.integers(0, len(packet.track.header)))]
    for codec in (Codec.H264, Codec.HEVC):
        for track in (Track(codec=codec, header=header), Track(codec=codec, header=packet.track.header)):
            damaged = packet._replace(data=cut, track=track)
            assert len(frozen(damaged)) in (1, 2)
            assert rejoining(damaged).track is track


def test_pictures_that_depend_on_others_are_left_alone() -> None:
    packets, _ = read_file("h264_b_aac")
    dependent = [packet for packet in packets if packet.is_video and not packet.is_keyframe]
    assert dependent
    for packet in dependent:
        assert frozen(packet) == (packet,)
    sound = next(packet for packet in packets if not packet.is_video)
    assert frozen(sound) == (sound,)


def test_captions_and_other_user_data_are_not_said_again() -> None:
    packets, _ = read_file("h264_b_aac")
    keyframe = next(packet for packet in packets if packet.is_video)
    captions = bytes.fromhex("0604" + "02b500" + "80")
    timing = bytes.fromhex("060101c080")
    said = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (captions, timing))
    for variant in frozen(keyframe._replace(data=said + keyframe.data)):
        assert captions not in variant.data
        assert timing in variant.data


def test_a_keyframe_may_carry_its_own_parameter_sets() -> None:
    packets = packets_of(flv.TagReader().feed(clips.make(clips.H264).read_bytes()))
    keyframe = next(packet for packet in packets if packet.is_video and packet.is_keyframe)
    whole = self_contained(keyframe)
    units = nal_units(whole.data, 4)
    assert units[:2] == header_units(keyframe.track.header)
    assert whole.data.endswith(keyframe.data)
    assert self_contained(whole) is whole
    other = next(packet for packet in packets if packet.is_video and not packet.is_keyframe)
    assert self_contained(other) is other
    broken = keyframe._replace(track=Track(codec=Codec.H264, header=b"\x01"))
    assert self_contained(broken) is broken
