"""Audio headers and frames: tables of real ones, AudioSpecificConfigs written and read back, damage."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.media import Codec, Track
from relay.protocol import codecs
from relay.protocol.audio_headers import aac, ac3, flac, mp3, opus
from tests.protocol.bit_writer import BitWriter
from tests.protocol.damage import value_or_error
from tests.protocol.flv_files import read_file

RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

# name, AudioSpecificConfig, sample rate, channels, codec string
AAC = [
    ("plain 48 kHz stereo", "1190", 48000, 2, "mp4a.40.2"),
    ("plain 44.1 kHz mono", "1208", 44100, 1, "mp4a.40.2"),
    ("plain 5.1", "11b0", 48000, 6, "mp4a.40.2"),
    ("ffmpeg, no SBR behind", "118856e500", 48000, 1, "mp4a.40.2"),
    ("ffmpeg 5.1", "123056e500", 44100, 6, "mp4a.40.2"),
    ("ffmpeg 7.1 of layout 12", "11e056e500", 48000, 8, "mp4a.40.2"),
    ("HE-AAC, explicit SBR", "2b920800", 44100, 2, "mp4a.40.5"),
    ("HE-AAC v2, explicit PS", "eb8a0800", 44100, 2, "mp4a.40.29"),
    ("SBR behind", "131056e598", 48000, 2, "mp4a.40.2"),
    ("SBR and PS behind, as old decoders like it", "139056e5a54880", 44100, 2, "mp4a.40.2"),
    ("HE-AAC of 16 kHz", "2c0a8800", 32000, 1, "mp4a.40.5"),
    ("a rate of its own", "17805dc010", 48000, 2, "mp4a.40.2"),
    ("Main", "0990", 48000, 2, "mp4a.40.1"),
    ("layout in a program config element", "1180" + "04c80020", 48000, 0, "mp4a.40.2"),
]


@pytest.mark.parametrize(("name", "config", "rate", "channels", "text"), AAC, ids=[row[0] for row in AAC])
def test_audio_specific_configs(name: str, config: str, rate: int, channels: int, text: str) -> None:
    header = bytes.fromhex(config)
    assert aac(header) == Track(codec=Codec.AAC, header=header, sample_rate=rate, channels=channels, codec_string=text)


def config_of(kind: int, rate: int, layout: int, *, spelled_out: bool = False) -> bytes:
    """An AudioSpecificConfig; ``spelled_out``: the rate as a 24-bit number behind index 15."""
    writer = BitWriter()
    writer = writer.u(5, kind) if kind < 31 else writer.u(5, 31).u(6, kind - 32)
    writer = writer.u(4, 15).u(24, rate) if spelled_out else writer.u(4, RATES.index(rate))
    return writer.u(4, layout).u(3, 0).data()


@given(
    st.sampled_from([1, 2, 4, 17, 23, 39, 42]),
    st.sampled_from(RATES),
    st.integers(1, 7),
    st.booleans(),
)
def test_audio_specific_configs_round_trip(kind: int, rate: int, layout: int, spelled_out: bool) -> None:
    track = aac(config_of(kind, rate, layout, spelled_out=spelled_out))
    assert track.sample_rate == rate
    assert track.channels == (8 if layout == 7 else layout)
    assert track.codec_string == f"mp4a.40.{kind}"


@given(st.integers(0, (1 << 24) - 1))
def test_a_rate_of_its_own_is_read(rate: int) -> None:
    assert aac(config_of(2, rate, 2, spelled_out=True)).sample_rate == rate


OPUS = [
    ("ffmpeg mono", "4f707573486561640101380180bb0000000000", 1),
    ("ffmpeg 5.1", "4f707573486561640106380180bb00000000010402000401020305", 6),
]


@pytest.mark.parametrize(("name", "head", "channels"), OPUS, ids=[row[0] for row in OPUS])
def test_opus_heads(name: str, head: str, channels: int) -> None:
    header = bytes.fromhex(head)
    track = Track(codec=Codec.OPUS, header=header, sample_rate=48000, channels=channels, codec_string="opus")
    assert opus(header) == track
    assert opus(header.removeprefix(b"OpusHead")) == track, "some encoders leave out the magic"


STREAMINFO = "040004000000100000111770037000007080b97842a70b0e54b5d61cc789534a3749"


@pytest.mark.parametrize("before", ["", "80000022", "664c6143", "664c614300000022"])
@pytest.mark.parametrize("behind", ["", "84000004deadbeef"])
def test_streaminfo_alone_as_a_block_and_as_in_a_file(before: str, behind: str) -> None:
    if behind and before in ("", "664c6143"):
        before += "00000022"
    track = flac(bytes.fromhex(before + STREAMINFO + behind))
    assert (track.sample_rate, track.channels, track.codec_string) == (96000, 2, "fLaC")


@given(st.integers(1, (1 << 20) - 1), st.integers(1, 8), st.sampled_from([b"", b"fLaC\x80\0\0\x22"]))
def test_streaminfo_round_trips(rate: int, channels: int, before: bytes) -> None:
    """RFC 9639 §8.2: 20 bits of rate, 3 of channels less one, behind block and frame sizes; 16-bit samples."""
    info = bytes(10) + (rate << 12 | (channels - 1) << 9 | 15 << 4).to_bytes(4, "big") + bytes(20)
    track = flac(before + info)
    assert (track.sample_rate, track.channels) == (rate, channels)


# codec, first bytes of a frame, sample rate, channels, codec string
FRAMES = [
    (Codec.MP3, "fffb14c40000040c", 48000, 1, "mp4a.40.34"),
    (Codec.MP3, "fffb906400000000", 44100, 2, "mp4a.40.34"),
    (Codec.MP3, "fff394c400000000", 24000, 1, "mp4a.40.34"),
    (Codec.MP3, "fff340c400000003", 22050, 1, "mp4a.40.34"),
    (Codec.MP3, "ffe3406400000001", 11025, 2, "mp4a.40.34"),
    (Codec.AC3, "0b776bf108402f84", 48000, 1, "ac-3"),
    (Codec.AC3, "0b770b5b944043e1", 32000, 2, "ac-3"),
    (Codec.AC3, "0b77000000404000", 48000, 2, "ac-3"),
    (Codec.AC3, "0b770ad35e40ebf8", 44100, 6, "ac-3"),
    (Codec.EAC3, "0b77007f3287c000", 48000, 1, "ec-3"),
    (Codec.EAC3, "0b7703ce7f87c000", 44100, 6, "ec-3"),
    (Codec.EAC3, "0b7703ced487c000", 22050, 2, "ec-3"),
]


@pytest.mark.parametrize(("codec", "start", "rate", "channels", "text"), FRAMES)
def test_frames_that_describe_themselves(codec: Codec, start: str, rate: int, channels: int, text: str) -> None:
    frame = bytes.fromhex(start) + bytes(40)
    track = mp3(frame) if codec is Codec.MP3 else ac3(codec, frame)
    assert track == Track(codec=codec, sample_rate=rate, channels=channels, codec_string=text)


BROKEN = [
    (Codec.AAC, "11", "cut short"),
    (Codec.AAC, "1690", "index 13 is reserved"),
    (Codec.OPUS, "4f70757348656164010238", "not an OpusHead"),
    (Codec.OPUS, "4f707573486561640100380180bb0000000000", "not an OpusHead"),
    (Codec.OPUS, "4f70757348656164f101380180bb0000000000", "not an OpusHead"),
    (Codec.FLAC, "664c6143", "without STREAMINFO"),
    (Codec.MP3, "0001020304", "without a frame header"),
    (Codec.MP3, "ffeb906400000000", "reserved"),
    (Codec.MP3, "fffb9c6400000000", "reserved"),
    (Codec.AC3, "0b770b5bd44043e1", "reserved"),
    (Codec.AC3, "770b0b5b944043e1", "synchronisation"),
    (Codec.EAC3, "0b77", "synchronisation"),
    (Codec.EAC3, "0b7703cef487c000", "reserved"),
]


@pytest.mark.parametrize(("codec", "data", "message"), BROKEN)
def test_what_is_broken_is_said(codec: Codec, data: str, message: str) -> None:
    read = codecs.read_frame_track if codec in (Codec.MP3, Codec.AC3, Codec.EAC3) else codecs.read_track
    with pytest.raises(ProtocolError, match=message):
        read(codec, bytes.fromhex(data))


@given(st.sampled_from([aac, opus, flac, mp3, lambda data: ac3(Codec.AC3, data), lambda data: ac3(Codec.EAC3, data)]),
       st.sampled_from([b"", b"\x0b\x77", b"\xff\xfb", b"OpusHead", b"fLaC"]), st.binary(max_size=64))  # fmt: skip
def test_any_bytes_make_a_track_or_a_protocol_error(read: Callable[[bytes], Track], start: bytes, data: bytes) -> None:
    track = value_or_error(read, start + data)
    assert isinstance(track, ProtocolError) or (0 <= track.channels <= 255 and 0 <= track.sample_rate < 1 << 24)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "text"),
    [
        ("ffmpeg5_h264_b_aac", 48000, 1, "mp4a.40.2"),
        ("h264_b_aac", 48000, 1, "mp4a.40.2"),
        ("av1_opus", 48000, 1, "opus"),
        ("vp9_flac", 48000, 1, "fLaC"),
        ("ffmpeg5_mp3", 48000, 1, "mp4a.40.34"),
        ("ac3", 48000, 1, "ac-3"),
        ("eac3", 48000, 1, "ec-3"),
    ],
)
def test_captured_sessions(name: str, rate: int, channels: int, text: str) -> None:
    _, depacketizer = read_file(name)
    track = depacketizer.audio
    assert track is not None
    assert (track.sample_rate, track.channels, track.codec_string) == (rate, channels, text)
