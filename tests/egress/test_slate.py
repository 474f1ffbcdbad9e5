"""Slates of real files: right size and colour in every codec, clean loops, sound that fits, and what is refused."""

import array
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.egress.slate import Slate, make_slate
from relay.errors import SlateError
from relay.media import Codec, Packet, Track
from relay.protocol import codecs
from relay.protocol.freeze import frozen
from relay.protocol.silence import SILENT_AAC, silence
from tests.protocol.freezing import write
from tests.support.clips import DEBIAN_FFMPEG, new_ffmpeg

LIVE = Track(codec=Codec.H264, width=320, height=180, codec_string="avc1.42c00d")
OPUS = codecs.read_track(Codec.OPUS, bytes.fromhex("4f707573486561640102000080bb0000000000"))
ORANGE, BLACK = (255, 128, 0), (0, 0, 0)


def run(*words: str) -> None:
    subprocess.run([new_ffmpeg(), "-v", "error", "-y", *words], check=True, timeout=60, capture_output=True)


def picture(path: Path, size: str, *, colour: str = "0xFF8000", form: str = "rgb24") -> Path:
    run("-f", "lavfi", "-i", f"color={colour}:size={size},format={form}", "-frames:v", "1", "-update", "1", str(path))
    return path


def clip(path: Path, *, seconds: float = 3, rate: int = 25, size: str = "640x360", sound: str = "aac") -> Path:
    words = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]
    if sound:
        words += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={seconds / 2}", "-c:a", sound]
    run(*words, "-c:v", "libx264", "-bf", "2", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path))
    return path


def played(slate: Slate, times: int = 2) -> list[Packet]:
    """What a destination gets: the loop over and over; a picture's keyframe twice a second."""
    if slate.length_ms:
        return [
            packet._replace(
                dts_ms=packet.dts_ms + turn * slate.length_ms, pts_ms=packet.pts_ms + turn * slate.length_ms
            )
            for turn in range(times)
            for packet in slate.packets
        ]
    variants = frozen(slate.packets[0])
    return [variants[turn % len(variants)]._replace(dts_ms=500 * turn, pts_ms=500 * turn) for turn in range(times)]


def ffmpegs(codec: Codec) -> Sequence[str]:
    """Those that read the codec in FLV."""
    return (DEBIAN_FFMPEG, new_ffmpeg()) if codec is Codec.H264 else (new_ffmpeg(),)


def decoded(path: Path, ffmpeg: str, *words: str) -> bytes:
    """What ffmpeg makes of ``path``. AssertionError when it prints anything."""
    argv = [ffmpeg, "-hide_banner", "-nostdin", "-v", "warning", "-err_detect", "explode", "-i", str(path), *words, "-"]
    done = subprocess.run(argv, check=True, timeout=60, capture_output=True)
    assert not done.stderr, done.stderr.decode()
    return done.stdout


def pictures(path: Path, ffmpeg: str, track: Track) -> list[bytes]:
    """Each picture as RGB, of the track's size."""
    raw = decoded(path, ffmpeg, "-map", "0:v", "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo")
    size = track.width * track.height * 3
    assert len(raw) % size == 0
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def is_near(shown: bytes, track: Track, x: int, y: int, colour: tuple[int, int, int]) -> bool:
    at = 3 * (y * track.width + x)
    return all(abs(one - other) <= 6 for one, other in zip(shown[at : at + 3], colour, strict=True))


@pytest.mark.parametrize("codec", [Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9])
@pytest.mark.parametrize("name", ["slate.png", "slate.jpg"])
def test_a_picture_in_each_codec_fits_between_black_bars(codec: Codec, name: str, tmp_path: Path) -> None:
    live = Track(codec=codec, width=320, height=180)
    slate = make_slate(picture(tmp_path / name, "200x200"), live, SILENT_AAC)
    assert (slate.video_track.codec, slate.video_track.width, slate.video_track.height) == (codec, 320, 180)
    assert (slate.length_ms, slate.audio_track, slate.is_cut) == (0, None, False)
    assert [packet.is_keyframe for packet in slate.packets] == [True]
    path = write(tmp_path / "shown.flv", played(slate, 6))
    for ffmpeg in ffmpegs(codec):
        shown = pictures(path, ffmpeg, live)
        assert len(shown) == 6
        for one in shown:
            assert is_near(one, live, 160, 90, ORANGE)
            assert is_near(one, live, 10, 90, BLACK)
            assert is_near(one, live, 310, 90, BLACK)


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    slate = make_slate(picture(tmp_path / "clear.png", "320x180", colour="0xFF8000@0.5", form="rgba"), LIVE)
    (shown,) = pictures(write(tmp_path / "shown.flv", played(slate, 1)), new_ffmpeg(), LIVE)
    assert is_near(shown, LIVE, 160, 90, (128, 64, 0))


def test_a_portrait_stream_and_an_odd_size(tmp_path: Path) -> None:
    path = picture(tmp_path / "slate.png", "640x360")
    slate = make_slate(path, Track(codec=Codec.H264, width=181, height=321))
    assert (slate.video_track.width, slate.video_track.height) == (180, 320)
    assert slate.video_track.codec_string.startswith("avc1.64")
    assert make_slate(path, LIVE).video_track.codec_string.startswith("avc1.42")


def test_a_busy_picture_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    run("-f", "lavfi", "-i", "testsrc2=size=1920x1080,noise=alls=40", "-frames:v", "1", "-update", "1", str(path))
    slate = make_slate(path, Track(codec=Codec.H264, width=1920, height=1080))
    assert len(slate.packets[0].data) < 256 * 1024


@pytest.mark.parametrize("codec", [Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9])
def test_a_clip_loops_clean_in_each_codec(codec: Codec, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    live = Track(codec=codec, width=320, height=180)
    slate = make_slate(clip(tmp_path / "slate.mp4", sound=""), live)
    assert capfd.readouterr() == ("", "")  # encoders have a mind to talk
    assert (slate.audio_track, slate.length_ms, len(slate.packets)) == (None, 3000, 75)
    assert [packet.dts_ms for packet in slate.packets if packet.is_keyframe] == [0, 2000]
    assert [packet.dts_ms for packet in slate.packets] == [packet.pts_ms for packet in slate.packets]
    path = write(tmp_path / "shown.flv", played(slate, 3))
    for ffmpeg in ffmpegs(codec):
        shown = pictures(path, ffmpeg, live)
        assert len(shown) == 225
        assert shown[:75] == shown[75:150] == shown[150:]


def test_a_loop_does_not_end_on_a_keyframe(tmp_path: Path) -> None:
    slate = make_slate(clip(tmp_path / "slate.mp4", seconds=2.04, sound=""), LIVE)
    assert len(slate.packets) == 50
    assert not slate.packets[-1].is_keyframe


@pytest.mark.parametrize("audio", [SILENT_AAC, codecs.read_track(Codec.AAC, bytes.fromhex("1208")), OPUS])
def test_the_sound_of_a_clip_fits_the_track(audio: Track, tmp_path: Path) -> None:
    slate = make_slate(clip(tmp_path / "slate.mp4"), LIVE, audio)
    assert slate.audio_track is audio
    sound = [packet for packet in slate.packets if packet.track is audio]
    quiet = silence(audio)
    assert quiet is not None
    assert slate.length_ms == round(len(sound) * quiet.duration_ms)
    assert 0 <= slate.length_ms - 3000 <= quiet.duration_ms
    for track in (slate.video_track, audio):
        times = [packet.dts_ms for packet in slate.packets if packet.track is track]
        assert times == sorted(set(times))
        assert slate.length_ms > times[-1]
    path = write(tmp_path / "shown.flv", played(slate))
    for ffmpeg in ffmpegs(Codec.HEVC if audio is OPUS else Codec.H264):
        heard = array.array("f", decoded(path, ffmpeg, "-map", "0:a", "-f", "f32le")).tolist()
        assert len(heard) == 2 * len(sound) * quiet.samples * audio.channels
        loop = heard[: len(heard) // 2]
        assert max(map(abs, loop[: len(loop) // 3])) > 0.05
        assert max(map(abs, loop[-len(loop) // 3 :])) < 0.001


@pytest.mark.parametrize("audio", [Track(codec=Codec.AC3), Track(codec=Codec.MP3, sample_rate=44100, channels=2)])
def test_sound_that_cannot_be_encoded_is_left_out(audio: Track, tmp_path: Path) -> None:
    slate = make_slate(clip(tmp_path / "slate.mp4", seconds=1), LIVE, audio)
    assert slate.audio_track is None
    assert all(packet.is_video for packet in slate.packets)


def test_a_long_clip_is_cut_and_says_so(tmp_path: Path) -> None:
    slate = make_slate(clip(tmp_path / "slate.mp4", seconds=33, rate=10, size="64x36"), LIVE, SILENT_AAC)
    assert slate.is_cut
    assert 30_000 <= slate.length_ms <= 30_022


def test_a_clip_that_was_filmed_upright_is_shown_upright(tmp_path: Path) -> None:
    flat = clip(tmp_path / "flat.mp4", seconds=0.5, sound="")
    turned = tmp_path / "turned.mp4"
    run("-display_rotation", "90", "-i", str(flat), "-c", "copy", str(turned))
    live = Track(codec=Codec.H264, width=180, height=320)
    wanted = tmp_path / "wanted.yuv"
    run("-i", str(turned), "-frames:v", "1", "-vf", "scale=180:320", "-pix_fmt", "rgb24", "-f", "rawvideo", str(wanted))
    path = write(tmp_path / "shown.flv", played(make_slate(turned, live), 1))
    first, right = pictures(path, new_ffmpeg(), live)[0], wanted.read_bytes()
    differences = sorted(abs(one - other) for one, other in zip(first, right, strict=True))
    assert differences[len(differences) // 2] < 12


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"", "no PNG, JPEG or MP4"),
        (b"#EXTM3U\nhttp://127.0.0.1/", "no PNG, JPEG or MP4"),
        (b"ffconcat version 1.0\nfile /etc/passwd", "no PNG, JPEG or MP4"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "cannot be used: no picture"),
        (b"\xff\xd8\xff" + bytes(200), "cannot be used: no picture"),
        (b"\0\0\0\x18ftypisom" + bytes(200), "cannot be used: "),
        (b"\x89PNG\r\n\x1a\n" + bytes(20 * 1024 * 1024), "larger than 20 MiB"),
        (bytes.fromhex("89504e470d0a1a0a0000000d49484452000186a0000186a00802000000"), "100000 by 100000 pixels"),
        (bytes.fromhex("ffd8ffe000044a46ffc0001108ffffffff03012200021101031101"), "65535 by 65535 pixels"),
    ],
)
def test_files_that_are_no_slate(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "slate.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SlateError, match=says):
        make_slate(path, LIVE)
    with pytest.raises(SlateError, match=says):
        make_slate(path, LIVE)


def test_a_picture_and_a_clip_pass_the_check(tmp_path: Path) -> None:
    make_slate(picture(tmp_path / "slate.png", "640x360"), LIVE)
    make_slate(clip(tmp_path / "slate.mp4", seconds=1), LIVE)


def test_a_clip_cut_short_and_one_without_pictures(tmp_path: Path) -> None:
    path = clip(tmp_path / "slate.mp4", seconds=1)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(SlateError, match="give a PNG, JPEG or MP4 file that plays"):
        make_slate(path, LIVE)
    sound = tmp_path / "sound.mp4"
    run("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(sound))
    with pytest.raises(SlateError, match="no video in it"):
        make_slate(sound, LIVE)


@pytest.mark.parametrize(
    ("live", "says"),
    [(Track(codec=Codec.VP8, width=320, height=180), "encoded to vp8"), (Track(codec=Codec.AV1), "size is not known")],
)
def test_streams_no_slate_can_stand_in_for(live: Track, says: str, tmp_path: Path) -> None:
    with pytest.raises(SlateError, match=says):
        make_slate(picture(tmp_path / "slate.png", "64x64"), live)
