"""Silent frames: both ffmpegs decode them, alone and among real ones, to as many zeros as they say."""

import array
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.media import Codec, Packet, Track
from relay.protocol import codecs, flv
from relay.protocol.silence import SILENT_AAC, Silence, silence
from tests.protocol.bit_writer import BitWriter
from tests.protocol.flv_files import packets_of, read_file
from tests.protocol.freezing import write
from tests.support.clips import DEBIAN_FFMPEG, new_ffmpeg

RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8}  # by channelConfiguration


def aac(rate: int, layout: int, *, kind: int = 2, short: int = 0) -> Track:
    bits = BitWriter().u(5, kind).u(4, RATES.index(rate)).u(4, layout).u(1, short).u(2, 0)
    return codecs.read_track(Codec.AAC, bits.data())


def frames(track: Track, count: int, start_ms: int = 0) -> list[Packet]:
    """``count`` silent frames of ``track``."""
    frame = silence(track)
    assert frame is not None
    times = [start_ms + round(number * frame.duration_ms) for number in range(count)]
    return [Packet(track, time, time, True, frame.data) for time in times]


def decoded(path: Path, ffmpeg: str, *, complaints: str = "") -> list[float]:
    """Every sample in ``path``, channels interleaved. AssertionError when ffmpeg prints anything else."""
    words = [ffmpeg, "-hide_banner", "-nostdin", "-v", "warning", "-err_detect", "explode", "-i", str(path)]
    done = subprocess.run([*words, "-f", "f32le", "-"], check=True, timeout=60, capture_output=True)
    assert done.stderr.decode() == complaints
    return array.array("f", done.stdout).tolist()


def check(track: Track, path: Path, *, samples: int, channels: int, ffmpegs: tuple[str, ...] = ()) -> None:
    for ffmpeg in ffmpegs or (DEBIAN_FFMPEG, new_ffmpeg()):
        sound = decoded(write(path, frames(track, 20)), ffmpeg)
        assert len(sound) == 20 * samples * channels
        assert not any(sound)


@pytest.mark.parametrize("layout", CHANNELS)
def test_aac_in_each_layout(layout: int, tmp_path: Path) -> None:
    check(aac(48000, layout), tmp_path / "silent.flv", samples=1024, channels=CHANNELS[layout])


@pytest.mark.parametrize("rate", RATES)
def test_aac_at_each_rate(rate: int, tmp_path: Path) -> None:
    frame = silence(aac(rate, 2))
    assert frame is not None
    assert frame.duration_ms == Fraction(1024000, rate)
    check(aac(rate, 2), tmp_path / "silent.flv", samples=1024, channels=2)


@pytest.mark.parametrize("kind", [1, 4])
def test_aac_main_and_long_term_prediction(kind: int, tmp_path: Path) -> None:
    check(aac(44100, 1, kind=kind), tmp_path / "silent.flv", samples=1024, channels=1)


def test_aac_with_short_frames(tmp_path: Path) -> None:
    track = aac(48000, 2, short=1)
    assert silence(track) == (silence(SILENT_AAC) or Silence(b"", 0, 1))._replace(samples=960)
    check(track, tmp_path / "silent.flv", samples=960, channels=2)


@pytest.mark.parametrize("config", ["2b920800", "eb8a0800", "131056e598", "139056e5a54880", "2c0a8800"])
def test_he_aac_is_its_core(config: str, tmp_path: Path) -> None:
    track = codecs.read_track(Codec.AAC, bytes.fromhex(config))
    frame = silence(track)
    assert frame is not None
    assert 2 * frame.rate == track.sample_rate
    # Decoders make two channels of one, for parametric stereo may yet come.
    check(track, tmp_path / "silent.flv", samples=2048, channels=2)


def test_the_audio_of_a_stream_that_has_none(tmp_path: Path) -> None:
    assert (SILENT_AAC.sample_rate, SILENT_AAC.channels, SILENT_AAC.codec_string) == (48000, 2, "mp4a.40.2")
    check(SILENT_AAC, tmp_path / "silent.flv", samples=1024, channels=2)


@pytest.mark.parametrize("channels", [1, 2])
def test_opus(channels: int, tmp_path: Path) -> None:
    header = b"OpusHead\x01" + bytes((channels,)) + b"\0\0" + (48000).to_bytes(4, "little") + b"\0\0\0"
    track = codecs.read_track(Codec.OPUS, header)
    assert len(frames(track, 1)[0].data) == 3
    check(track, tmp_path / "silent.flv", samples=960, channels=channels, ffmpegs=(new_ffmpeg(),))


def test_opus_surround(tmp_path: Path) -> None:
    header = bytes.fromhex("4f707573486561640106000080bb0000000001") + bytes((4, 2, 0, 4, 1, 2, 3, 5))
    track = codecs.read_track(Codec.OPUS, header)
    check(track, tmp_path / "silent.flv", samples=960, channels=6, ffmpegs=(new_ffmpeg(),))


MP3_RATES = (44100, 48000, 32000, 22050, 24000, 16000, 11025, 12000, 8000)


@pytest.mark.parametrize("rate", MP3_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_at_each_rate(rate: int, channels: int, tmp_path: Path) -> None:
    track = Track(codec=Codec.MP3, sample_rate=rate, channels=channels)
    frame = silence(track)
    assert frame is not None
    found = codecs.read_frame_track(Codec.MP3, frame.data)
    assert (found.sample_rate, found.channels) == (rate, channels)
    check(track, tmp_path / "silent.flv", samples=1152 if rate >= 32000 else 576, channels=channels)


SOUND = {
    "AAC stereo": ("-c:a", "aac", "-ar", "48000", "-ac", "2"),
    "AAC mono": ("-c:a", "aac", "-ar", "44100", "-ac", "1"),
    "AAC 5.1": ("-c:a", "aac", "-ar", "48000", "-ac", "6"),
    "MP3": ("-c:a", "libmp3lame", "-reservoir", "0", "-ar", "44100", "-ac", "2"),
    "Opus": ("-c:a", "libopus", "-ar", "48000", "-ac", "2"),
}


@pytest.mark.parametrize("name", SOUND)
def test_between_real_frames(name: str, tmp_path: Path) -> None:
    source = tmp_path / "live.flv"
    words = [new_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "anoisesrc=sample_rate=48000:duration=2", *SOUND[name]]
    subprocess.run([*words, str(source)], check=True, timeout=60, capture_output=True)
    live = packets_of(flv.TagReader().feed(source.read_bytes()))
    frame = silence(live[0].track)
    assert frame is not None
    first, then = live[: len(live) // 2], live[len(live) // 2 :]
    quiet = frames(live[0].track, 50, then[0].dts_ms)
    by_ms = round(50 * frame.duration_ms)
    later = [packet._replace(dts_ms=packet.dts_ms + by_ms, pts_ms=packet.pts_ms + by_ms) for packet in then]
    path = write(tmp_path / "held.flv", [*first, *quiet, *later])
    channels = live[0].track.channels
    before = decoded(source, new_ffmpeg())
    for ffmpeg in (new_ffmpeg(), *([] if name == "Opus" else [DEBIAN_FFMPEG])):
        sound = decoded(path, ffmpeg)
        assert len(sound) - len(before) == 50 * frame.samples * channels
        start = (len(first) + 2) * frame.samples * channels
        middle = sound[start : start + 46 * frame.samples * channels]
        assert max(map(abs, middle)) < 1e-4 if name == "Opus" else not any(middle)
        assert max(map(abs, sound[:start])) > 0.1
        assert max(map(abs, sound[-start:])) > 0.1


def test_what_has_no_silence() -> None:
    for name in ("ac3", "eac3", "vp9_flac"):
        packets, _ = read_file(name)
        assert silence(packets[-1].track) is None
    assert silence(Track(codec=Codec.H264)) is None
    assert silence(Track(codec=Codec.AAC, header=b"\x11")) is None
    assert silence(codecs.read_track(Codec.AAC, bytes.fromhex("118004c80020"))) is None  # a layout of its own
    assert silence(aac(48000, 2, kind=23)) is None
    assert silence(Track(codec=Codec.MP3, sample_rate=44056, channels=2)) is None


@given(st.sampled_from([Codec.AAC, Codec.OPUS, Codec.MP3]), st.binary(max_size=40))
def test_any_header_gives_a_frame_or_none(codec: Codec, header: bytes) -> None:
    frame = silence(Track(codec=codec, header=header, sample_rate=48000, channels=2))
    assert frame is None or (frame.data and frame.duration_ms > 0)


@pytest.mark.parametrize(("streams", "pairs"), [(0, 0), (1, 2), (0, 3)])
def test_an_opus_header_that_counts_wrongly_has_no_silence(streams: int, pairs: int) -> None:
    """RFC 7845 §5.1.1: at least one stream, and no more pairs than streams. A frame of nothing is none."""
    header = b"OpusHead\1\2" + bytes(8) + bytes((1, streams, pairs, 0, 1))
    assert silence(codecs.read_track(Codec.OPUS, header)) is None
