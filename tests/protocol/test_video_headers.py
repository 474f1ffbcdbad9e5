"""Video headers: tables of real ones, parameter sets written and read back, damage."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol import codecs
from relay.protocol.flv import TagReader
from relay.protocol.video_headers import av1, av1_size, avc, hevc, vp, vp8_size, vp9_size
from tests.protocol.bit_writer import BitWriter, escape
from tests.protocol.damage import value_or_error
from tests.protocol.flv_files import packets_of, read_file
from tests.support.clips import new_ffmpeg

# name, codec, sequence header, width, height, codec string; ffprobe says the same of the files they come from
HEADERS = [
    ("x264 1080p, 8 lines cropped", Codec.H264,
     "0142c028ffe100196742c028da01e0089f970110000003001000000303c0f1832a01000468ce0fc8",
     1920, 1080, "avc1.42c028"),
    ("x264 interlaced", Codec.H264,
     "014d4028ffe10019674d4028f403c0227ef0110000030001000003003c1f162ea001000468de0fc8",
     1920, 1080, "avc1.4d4028"),
    ("x264 4:2:2 10 bit", Codec.H264,
     "017a0020ffe1001b677a0020b6cb402b030f35e022000003000200000300781e30654001000468ce0fc8fefafa00",
     1366, 766, "avc1.7a0020"),
    ("x264 4:4:4", Codec.H264,
     "01f40020ffe1001b67f4002091968056061e2fc044000003000400000300f03c60ca8001000568ce0f1920fff8f800",
     1366, 768, "avc1.f40020"),
    ("x264 monochrome", Codec.H264,
     "0164001fffe100196764001ff2d01b07bc5f80b640000003004000000f03c60ca801000468ce0fc8fcf8f800",
     854, 480, "avc1.64001f"),
    ("x264 scaling lists", Codec.H264,
     "01640015ffe1001867640015acb40d8ff2780880000003008000001e078b175001000568ce0fc40cfdf8f800",
     426, 240, "avc1.640015"),
    ("openh264", Codec.H264, "0142c01fffe1000f6742c01f8c6805005bb0101e1108d401000468ce3c80",
     1280, 720, "avc1.42c01f"),
    ("x265 4:2:0", Codec.HEVC,
     "01016000000090000000000078f000fcfdf8f800000f03200001001840010c01ffff016000000300900000030000030078959409"
     "210001002c420101016000000300900000030000030078a002b080301cde595952930bc05a020000030002000003003c1022000100"
     "064401c073c189", 1366, 768, "hvc1.1.6.L120.90"),
    ("x265 4:2:2 10 bit", Codec.HEVC,
     "0104080000009d080000000078f000fcfefafa00000f03200001001740010c01ffff0408000003009d08000003000078959409"
     "210001002c4201010408000003009d08000003000078b002b080301cd6d965654a4c2f016808000003000800000300f04022000100"
     "064401c073c189", 1366, 766, "hvc1.4.10.L120.9D.8"),
    ("x265 4:4:4", Codec.HEVC,
     "0104080000009e080000000078f000fcfff8f800000f03200001001740010c01ffff0408000003009e08000003000078959409"
     "210001002b4201010408000003009e08000003000078900079100220e3e7cb2b2a5261780b40400000030040000007802200010008"
     "4401c07318301890", 1922, 1082, "hvc1.4.10.L120.9E.8"),
    ("x265 monochrome", Codec.HEVC,
     "0104080000009fc8000000005af000fcfcf8f800000f03200001001740010c01ffff0408000003009fc800000300005a959409"
     "210001002a4201010408000003009fc800000300005ac01b08078717e595952930bc05b020000003002000000303c122000100"
     "064401c073c189", 854, 480, "hvc1.4.10.L90.9F.C8"),
    ("libaom", Codec.AV1, "81050c000a0b0000002d4d55bfccaf9004", 1366, 768, "av01.0.05M.08"),
    ("SVT-AV1 10 bit", Codec.AV1, "81054c000a0c0200002d2a6aadfe017c2020", 1366, 768, "av01.0.05M.10"),
    ("SVT-AV1 behind a temporal delimiter", Codec.AV1, "81054c0012000a0c0200002d2a6aadfe017c2020",
     1366, 768, "av01.0.05M.10"),
    ("rav1e, sequence header in the stream only", Codec.AV1, "811f0c00", 0, 0, "av01.0.31M.08"),
    ("libvpx VP9", Codec.VP9, "010000000028820202020000", 0, 0, "vp09.00.40.08"),
    ("libvpx VP9 4:4:4 10 bit", Codec.VP9, "01000000030ba60202020000", 0, 0, "vp09.03.11.10"),
    ("VP8", Codec.VP8, "01000000000a800202020000", 0, 0, "vp08.00.10.08"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec", "hex_", "width", "height", "text"), HEADERS, ids=[row[0] for row in HEADERS])
def test_sequence_headers(name: str, codec: Codec, hex_: str, width: int, height: int, text: str) -> None:
    header = bytes.fromhex(hex_)
    expected = Track(codec=codec, header=header, width=width, height=height, codec_string=text)
    assert codecs.read_track(codec, header) == expected


# name, codec, first bytes of a frame, size; None where the frame says nothing
KEYFRAMES = [
    ("VP9 profile 0", Codec.VP9, "824983420055502ff60638241c184a18", (1366, 768)),
    ("VP9 profile 1, RGB", Codec.VP9, "a2498342e055502ff60638241c184a18", (1366, 768)),
    ("VP9 profile 3, 4:4:4 10 bit", Codec.VP9, "b124c1a10000808048b031c120e0c2c0", (258, 146)),
    ("VP9 inter frame", Codec.VP9, "8600400000000000000000000000", None),
    ("VP9 no frame at all", Codec.VP9, "00", None),
    ("VP8", Codec.VP8, "b0b6019d012a56050003030708858588", (1366, 768)),
    ("VP8 of 640 by 360", Codec.VP8, "1002009d012a80026801", (640, 360)),
    ("VP8 inter frame", Codec.VP8, "b1b6019d012a56050003030708858588", None),
    ("AV1 of rav1e", Codec.AV1, "12000a0e000000fa1e0322210ac810100000", (258, 146)),
    ("AV1 without a sequence header", Codec.AV1, "12003210aabb", None),
    ("AV1 cut short", Codec.AV1, "0aff", None),
    ("H.264 is never looked into", Codec.H264, "0000000467424344", None),
]


@pytest.mark.parametrize(("name", "codec", "frame", "size"), KEYFRAMES, ids=[row[0] for row in KEYFRAMES])
def test_keyframes_tell_their_size(name: str, codec: Codec, frame: str, size: tuple[int, int] | None) -> None:
    track = Track(codec=codec, header=b"h", codec_string="c")
    sized = codecs.sized_by_keyframe(track, bytes.fromhex(frame))
    if size is None:
        assert sized is track
    else:
        assert sized == Track(codec=codec, header=b"h", width=size[0], height=size[1], codec_string="c")
        assert codecs.sized_by_keyframe(sized, bytes.fromhex(frame)) is sized, "the same size is the same track"


def test_an_av1_header_of_a_layer_has_an_extension_byte() -> None:
    obu = bytes.fromhex("0a0e000000fa1e0322210ac810100000")
    assert av1_size(obu) == av1_size(b"\x0e\x28" + obu[1:]) == (258, 146)


def test_an_av1_track_that_knows_its_size_keeps_it() -> None:
    track = Track(codec=Codec.AV1, width=640, height=360)
    assert codecs.sized_by_keyframe(track, bytes.fromhex("0a0e000000fa1e0322210ac810100000")) is track


ENCODERS = {
    Codec.H264: ("libx264",),
    Codec.HEVC: ("libx265", "-x265-params", "log-level=none"),
    Codec.AV1: ("libsvtav1", "-preset", "12"),
    Codec.VP9: ("libvpx-vp9",),
}


@pytest.mark.parametrize(("width", "height"), [(64, 36), (360, 640), (1920, 1080), (854, 480)])
@pytest.mark.parametrize("codec", ENCODERS)
def test_sizes_are_those_the_encoder_was_given(codec: Codec, width: int, height: int, tmp_path: Path) -> None:
    file = tmp_path / "two-frames.flv"
    source = f"testsrc=s={width}x{height}:r=10"
    command = [new_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "2", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, "-c:v", *ENCODERS[codec], str(file)], check=True, capture_output=True, timeout=60)
    packet = packets_of(TagReader().feed(file.read_bytes()))[0]
    assert (packet.track.codec, packet.track.width, packet.track.height) == (codec, width, height)


def avc_record(sps: bytes) -> bytes:
    return b"\x01" + sps[1:4] + b"\xff\xe1" + len(sps).to_bytes(2, "big") + sps + b"\x01\x00\x04\x68\xce\x0f\xc8"


@st.composite
def picture_sizes(draw: st.DrawFn, step: int) -> tuple[int, int, int, int]:
    """Width and height in blocks of ``step``, and how many units of two pixels are cropped off them."""
    blocks = st.integers(1, 8192 // step)
    crops = st.integers(0, step // 2 - 1)
    return draw(blocks) * step, draw(blocks) * step, draw(crops), draw(crops)


@given(picture_sizes(32), st.sampled_from([66, 77, 100, 110]), st.integers(0, 2), st.booleans(), st.booleans())
def test_h264_parameter_sets_round_trip(
    size: tuple[int, int, int, int], profile: int, order: int, interlaced: bool, lists: bool
) -> None:
    width, height, right, bottom = size
    writer = BitWriter().u(8, profile).u(8, 0).u(8, 40).ue(0)
    if profile >= 100:
        writer.ue(1).ue(0).ue(0).u(1, 0).u(1, int(lists))
        if lists:
            writer.u(1, 1).se(-8).u(1, 1)  # the first list is the default one, the second has 16 deltas
            for _ in range(16):
                writer.se(1)
            writer.u(6, 0)
    writer.ue(4).ue(order)
    if order == 0:
        writer.ue(2)
    elif order == 1:
        writer.u(1, 0).se(-3).se(2).ue(2).se(1).se(-1)
    writer.ue(3).u(1, 0).ue(width // 16 - 1).ue(height // (32 if interlaced else 16) - 1).u(1, int(not interlaced))
    if interlaced:
        writer.u(1, 0)
    writer.u(1, 1).u(1, 1).ue(0).ue(right).ue(0).ue(bottom // 2 if interlaced else bottom).u(1, 0).u(1, 1)
    track = avc(avc_record(b"\x67" + escape(writer.data())))
    cropped = bottom // 2 * 4 if interlaced else bottom * 2
    assert (track.width, track.height) == (width - 2 * right, height - cropped)
    assert track.codec_string == f"avc1.{profile:02x}0028"


@given(picture_sizes(16), st.integers(0, 3), st.sampled_from([(1, 2, 2), (2, 2, 1), (3, 1, 1), (0, 1, 1)]))
def test_hevc_parameter_sets_round_trip(
    size: tuple[int, int, int, int], layers: int, chroma: tuple[int, int, int]
) -> None:
    width, height, right, bottom = size
    idc, across, down = chroma
    writer = BitWriter().u(4, 0).u(3, layers).u(1, 1).u(8, 1).u(32, 0x60000000).u(48, 0x9000 << 32).u(8, 93)
    for _ in range(layers):
        writer.u(2, 3)
    if layers:
        writer.u(2 * (8 - layers), 0)
    for _ in range(layers):
        writer.u(88, 1).u(8, 90)
    writer.ue(0).ue(idc)
    if idc == 3:
        writer.u(1, 0)
    writer.ue(width).ue(height).u(1, 1).ue(0).ue(right // 2).ue(0).ue(bottom // 2).ue(0)
    sps = b"\x42\x01" + escape(writer.data())
    head = bytes.fromhex("0101600000009000000000005d") + bytes.fromhex("f000fcfdf8f800000f")
    track = hevc(head + b"\x01\x21\x00\x01" + len(sps).to_bytes(2, "big") + sps)
    assert (track.width, track.height) == (width - right // 2 * across, height - bottom // 2 * down)
    assert track.codec_string == "hvc1.1.6.L93.90"


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_av1_sequence_headers_round_trip(
    width: int, height: int, points: int, timing: bool, model: bool, display_delay: bool
) -> None:
    writer = BitWriter().u(3, 0).u(1, 0).u(1, 0).u(1, int(timing))
    if timing:
        writer.u(32, 1).u(32, 30).u(1, 1).ue(0).u(1, int(model))
        if model:
            writer.u(5, 9).u(32, 1).u(5, 9).u(5, 9)
    writer.u(1, int(display_delay)).u(5, points)
    for level in range(points + 1):
        writer.u(12, 0).u(5, 6 + level)
        if 6 + level > 7:
            writer.u(1, 0)
        if timing and model:
            writer.u(1, 1).u(10, 1).u(10, 1).u(1, 0)
        if display_delay:
            writer.u(1, 1).u(4, 3)
    payload = writer.u(4, 15).u(4, 15).u(16, width - 1).u(16, height - 1).u(8, 0).data()
    sized = b"\x12\x00" + b"\x0a" + bytes((len(payload) | 0x80, 0)) + payload
    assert av1_size(sized) == (width, height)
    assert av1_size(b"\x08" + payload) == (width, height), "an OBU without a size field goes on to the end"
    assert av1(b"\x81\x05\x0c\x00" + sized).width == width


def test_a_reduced_still_picture_has_a_size_too() -> None:
    payload = BitWriter().u(3, 0).u(1, 1).u(1, 1).u(5, 5).u(4, 9).u(4, 8).u(10, 639).u(9, 359).data()
    assert av1_size(b"\x0a" + bytes((len(payload),)) + payload) == (640, 360)


BROKEN = [
    (Codec.H264, "", "AVCDecoderConfigurationRecord"),
    (Codec.H264, "0142c01fffe0000f6742c01f", "without a sequence parameter set"),
    (Codec.H264, "0142c01fffe1000f6742c01f", "cut short"),
    (Codec.H264, "0142c01fffe100056742c01f80", "cut short"),
    (Codec.HEVC, "0101600000009000000000005df000", "cut short"),
    (Codec.HEVC, "0101600000009000000000005df000fcfdf8f800000f01210001002c4201", "cut short"),
    (Codec.AV1, "01050c00", "AV1CodecConfigurationRecord"),
    (Codec.AV1, "81050c000a0b00", "cut short"),
    (Codec.VP9, "000000000028820202020000", "VP9 sequence header"),
    (Codec.VP8, "0100", "VP8 sequence header"),
]


@pytest.mark.parametrize(("codec", "data", "message"), BROKEN)
def test_what_is_broken_is_said(codec: Codec, data: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        codecs.read_track(codec, bytes.fromhex(data))


def test_a_picture_larger_than_any_is_refused() -> None:
    writer = (
        BitWriter().u(8, 66).u(8, 0).u(8, 40).ue(0).ue(4).ue(2).ue(3).u(1, 0).ue(5000).ue(9).u(1, 1).u(1, 1).u(1, 0)
    )
    with pytest.raises(ProtocolError, match="not possible"):
        avc(avc_record(b"\x67" + escape(writer.data())))


@given(st.sampled_from(HEADERS), st.data())
def test_damaged_headers_make_a_track_or_a_protocol_error(row: tuple[str, Codec, str], data: st.DataObject) -> None:
    header = bytearray(bytes.fromhex(row[2]))
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(header[: data.draw(st.integers(0, len(header)))])
    track = value_or_error(codecs.read_track, row[1], cut)
    assert isinstance(track, ProtocolError) or 0 <= track.width <= 65536


@given(st.sampled_from([av1_size, vp9_size, vp8_size]), st.binary(max_size=40))
def test_any_frame_has_a_size_or_a_protocol_error(read: Callable[[bytes], tuple[int, int]], frame: bytes) -> None:
    size = value_or_error(read, frame)
    assert isinstance(size, ProtocolError) or min(size) >= 0


def test_vp_headers_say_whose_they_are() -> None:
    record = bytes.fromhex("01000000021f820202020000")
    assert vp(Codec.VP9, record).codec_string == "vp09.02.31.08"
    assert vp(Codec.VP8, record).codec_string == "vp08.02.31.08"


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("ffmpeg5_h264_b_aac", (128, 72), "avc1.64000a"),
        ("h264_b_aac", (64, 36), "avc1.64000a"),
        ("hevc_aac", (64, 36), "hvc1.1.6.L30.90"),
        ("av1_opus", (64, 36), "av01.0.00M.08"),
        ("vp9_flac", (64, 36), "vp09.00.10.08"),
    ],
)
def test_captured_files(name: str, size: tuple[int, int], text: str) -> None:
    _, depacketizer = read_file(name)
    track = depacketizer.video
    assert track is not None
    assert (track.width, track.height, track.codec_string) == (*size, text)
