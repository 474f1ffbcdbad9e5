"""The transcoder's command line: what is asked for, in numbers encoders take, and nothing of a stranger's."""

import shutil
import socket
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from relay.egress.base import FitConfig
from relay.egress.ffmpeg import command, program, shape_of
from relay.errors import DestinationError
from relay.media import Codec, Track

PORTRAIT = Track(codec=Codec.H264, header=b"v", width=1080, height=1921)
SOUND = Track(codec=Codec.OPUS, header=b"a", sample_rate=16000, channels=1)


def test_a_shape_is_even_and_never_larger_than_what_comes() -> None:
    shape = shape_of(FitConfig(height=720), (PORTRAIT, SOUND))
    assert (shape.width, shape.height) == (404, 720)
    assert (shape.sample_rate, shape.audio_kbps, shape.has_audio, shape.keyframe_s) == (48000, 128, True, 2.0)
    as_it_comes = shape_of(FitConfig(height=4000), (PORTRAIT, None))
    assert (as_it_comes.width, as_it_comes.height, as_it_comes.has_audio) == (1080, 1920, False)


def test_what_is_asked_for_is_in_the_command_line() -> None:
    fit = FitConfig(height=720, fps=25, video_kbps=2500, audio_kbps=96, keyframe_s=3)
    words = command(shape_of(fit, (PORTRAIT, SOUND)))
    text = " ".join(words)
    for wanted in ("-i pipe:0", "pipe:1", "w=404", "fps=25", "2500k", "96k", "n_forced*3", "-nostdin"):
        assert wanted in text.replace("\\\\", "").replace("\\", ""), wanted
    assert not [word for word in words if "://" in word]


def test_finding_the_program_runs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have our environment, with credentials in it."""

    def run(*_: object, **__: object) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    imageio_ffmpeg._utils._get_ffmpeg_exe.cache_clear()
    assert Path(command(shape_of(FitConfig(), (PORTRAIT, None)))[0]).name.startswith("ffmpeg")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/opt/mine")
    assert program() == "/opt/mine"
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(()))
    assert program() == shutil.which("ffmpeg")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DestinationError, match="there is no ffmpeg"):
        program()


def test_a_track_that_is_not_there_is_not_asked_for() -> None:
    assert "libx264" not in command(shape_of(FitConfig(), (None, SOUND)))
    assert "aac" not in command(shape_of(FitConfig(), (PORTRAIT, None)))


def test_no_address_would_be_opened_were_it_given_one() -> None:
    words = command(shape_of(FitConfig(height=720), (PORTRAIT, SOUND)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        for address in (f"http://127.0.0.1:{listening.getsockname()[1]}/x.flv", "file:/etc/passwd", "/etc/passwd"):
            at = words.index("pipe:0")
            done = subprocess.run(
                [*words[:at], address, *words[at + 1 :]], capture_output=True, check=False, timeout=30
            )
            assert done.returncode
            assert b"not on whitelist 'pipe'" in done.stderr
        with pytest.raises(BlockingIOError):
            listening.accept()
