"""Lint: what the publisher sends held against what each platform takes, in words that say what to set."""

from collections.abc import Iterable
from typing import NamedTuple

from relay.egress.base import DestinationConfig
from relay.egress.platforms import PLATFORMS, Platform
from relay.hub import Stream
from relay.media import Packet, Track

RULES = (
    "keyframe_interval",
    "no_audio",
    "low_bitrate",
    "high_bitrate",
    "b_frames",
    "video_codec",
    "audio_codec",
    "shape",
)
LONG_KEYFRAME_MS = 4500  # what no viewer should wait for, whatever the platform says
SLACK = 1.15


class Finding(NamedTuple):
    """One thing that does not suit one destination, and what to do."""

    destination: str
    rule: str
    words: str


def lint(stream: Stream, kbps: int, configs: Iterable[DestinationConfig]) -> list[Finding]:
    """Everything about ``stream`` (live, some seconds old) that its destinations may not like.

    ``kbps``: of the last minute, in kbit/s; 0: not known yet. A destination that is made to fit is judged by less.
    """
    return [
        Finding(config.name, rule, words)
        for config in configs
        if config.enabled
        for rule, words in _of(stream, kbps, config, PLATFORMS[config.platform])
    ]


def _of(stream: Stream, kbps: int, config: DestinationConfig, platform: Platform) -> Iterable[tuple[str, str]]:
    video, audio = stream.tracks
    is_fitted = config.fit is not None or config.change == "transcode"
    if audio is None and platform.needs_audio and not config.needs_audio:
        yield "no_audio", f"{platform.label} needs sound and there is none: switch it on, or set ensure_audio to on"
    if video is not None and platform.portrait and video.width > video.height > 0:
        yield "shape", f"{platform.label} shows upright pictures (9:16); this one lies ({video.width}x{video.height})"
    if is_fitted or video is None:
        return
    yield from _codecs(platform, video, audio)
    interval_ms = stream.stats.keyframe_interval_ms
    most_ms = (platform.keyframe_most_s or platform.keyframe_s * 2) * 1000 or LONG_KEYFRAME_MS
    if interval_ms > most_ms * SLACK:
        wanted = platform.keyframe_s or 2
        yield (
            "keyframe_interval",
            f"a keyframe every {interval_ms / 1000:.1f} s is too rare for {platform.label}: set it to {wanted:g} s",
        )
    low, high = platform.video_kbps
    if kbps and low and kbps * SLACK < low:
        yield (
            "low_bitrate",
            f"{kbps} kbit/s is below the {low} {platform.label} asks for: send more, or give the destination a fit",
        )
    if kbps and high and kbps > high * SLACK:
        yield "high_bitrate", f"{kbps} kbit/s is above the {high} {platform.label} takes: send less, or give it a fit"
    run = b_frames(stream.gop)
    if platform.b_frames_most is not None and run > platform.b_frames_most:
        most = platform.b_frames_most
        yield "b_frames", f"{run} B-frames in a row are more than {platform.label} wants: set the encoder to {most}"


def b_frames(packets: Iterable[Packet]) -> int:
    """The longest run of pictures that are shown before one that was sent ahead of them."""
    longest = run = 0
    ahead_ms: int | None = None
    for packet in packets:
        if not packet.is_video:
            continue
        if ahead_ms is not None and packet.pts_ms < ahead_ms:
            run += 1
            longest = max(longest, run)
        else:
            ahead_ms, run = packet.pts_ms, 0
    return longest


def _codecs(platform: Platform, video: Track, audio: Track | None) -> Iterable[tuple[str, str]]:
    if platform.video and video.codec not in platform.video:
        known = ", ".join(platform.video)
        yield "video_codec", f"{platform.label} takes {known}, not {video.codec}: change the encoder, or give it a fit"
    if audio is not None and platform.audio and audio.codec not in platform.audio:
        known = ", ".join(platform.audio)
        yield "audio_codec", f"{platform.label} takes {known}, not {audio.codec}: change the encoder, or give it a fit"
