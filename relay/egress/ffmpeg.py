"""ffmpeg's command line for a stream made to fit: FLV in on stdin, FLV out on stdout, nothing of a stranger's in it."""

import os
import shutil
from dataclasses import dataclass
from importlib import resources

import ffmpeg

from relay.egress.base import FitConfig
from relay.errors import DestinationError
from relay.hub.batch import Tracks

_KBPS_PER_LINE = 3.5  # what H.264 wants where nobody said how much: 720 lines, 2,500 kbit/s
_RATES = (44100, 48000)


@dataclass(frozen=True, slots=True)
class Shape:
    """What comes out, from the first run to the last: size in pixels, frames a second (0: as they come), sound."""

    width: int
    height: int
    fps: float
    keyframe_s: float
    video_kbps: int
    audio_kbps: int
    sample_rate: int
    has_video: bool
    has_audio: bool


def shape_of(fit: FitConfig, tracks: Tracks) -> Shape:
    """The shape ``fit`` gives a stream of ``tracks``: never larger than it comes, in even numbers of pixels."""
    video, audio = tracks
    width, height = (video.width or 640, video.height or 360) if video is not None else (640, 360)
    if fit.height and fit.height < height:
        width, height = round(width * fit.height / height), fit.height
    width, height = max(2, width // 2 * 2), max(2, height // 2 * 2)
    return Shape(
        width=width,
        height=height,
        fps=fit.fps,
        keyframe_s=fit.keyframe_s or 2.0,
        video_kbps=fit.video_kbps or max(300, round(min(width, height) * _KBPS_PER_LINE)),
        audio_kbps=fit.audio_kbps or 128,
        sample_rate=audio.sample_rate if audio is not None and audio.sample_rate in _RATES else 48000,
        has_video=video is not None,
        has_audio=audio is not None,
    )


def command(shape: Shape) -> list[str]:
    """The whole command line, program first."""
    # Not nobuffer: what was read to learn the streams would be thrown away.
    limits = {"probesize": 500_000, "analyzeduration": 1_000_000, "protocol_whitelist": "pipe"}
    source = ffmpeg.input("pipe:0", format="flv", flags="low_delay", **limits)
    streams = []
    options: dict[str, str | int] = {}
    if shape.has_video:
        size = {"w": shape.width, "h": shape.height}
        picture = source.video.filter(
            "scale", **size, force_original_aspect_ratio="decrease", force_divisible_by=2, out_range="tv"
        )
        picture = picture.filter("pad", **size, x="(ow-iw)/2", y="(oh-ih)/2").filter("setsar", "1")
        # What a header says of colours must not depend on who sends.
        colours = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709"}
        picture = picture.filter("setparams", range="tv", **colours)
        if shape.fps:
            picture = picture.filter("fps", fps=f"{shape.fps:g}")
        streams.append(picture)
        options |= {
            "c:v": "libx264",
            "preset": "veryfast",
            "tune": "zerolatency",
            "profile:v": "high",
            "level": "4.1",
            "pix_fmt": "yuv420p",
            "b:v": f"{shape.video_kbps}k",
            "maxrate": f"{shape.video_kbps}k",
            "bufsize": f"{shape.video_kbps * 2}k",
            "g": 1000,
            "sc_threshold": 0,
            "bf": 0,
            "force_key_frames": f"expr:gte(t,n_forced*{shape.keyframe_s:g})",
            "fps_mode": "cfr" if shape.fps else "passthrough",
            "threads:v": 2,
        }
    if shape.has_audio:
        streams.append(source.audio.filter("aresample", **{"async": 1}))
        options |= {"c:a": "aac", "b:a": f"{shape.audio_kbps}k", "ar": shape.sample_rate, "ac": 2}
    out = ffmpeg.output(
        *streams, "pipe:1", format="flv", flvflags="no_duration_filesize", max_interleave_delta=500_000, **options
    )
    run = out.global_args("-hide_banner", "-nostdin", "-loglevel", "error", "-flush_packets", "1")
    words: list[str] = run.compile(cmd=program())
    return words


def program() -> str:
    """The path of ffmpeg: IMAGEIO_FFMPEG_EXE, else the package's own, else the system's. Raises DestinationError.

    The package's own way to it runs a child once, in our environment and on the loop's time.
    """
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    if named:
        return named
    found = [
        str(file) for file in resources.files("imageio_ffmpeg.binaries").iterdir() if file.name.startswith("ffmpeg")
    ]
    path = found[0] if found else shutil.which("ffmpeg")
    if path is None:
        raise DestinationError("there is no ffmpeg; install it, or name it by IMAGEIO_FFMPEG_EXE", "transcoder")
    return path
