"""Lint: what the publisher sends held against what each platform takes, in words that say what to set."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from relay.egress.base import DestinationConfig
from relay.egress.hls_segments import MOST_MS
from relay.egress.platforms import PLATFORMS, Platform
from relay.hub import Stream
from relay.media import Packet, Track

LONG_KEYFRAME_MS = 4500  # what no viewer should wait for, whatever the platform says
SLACK, HLS_SLACK = 1.15, 1.02
EVERY_S, MINUTE_S = 5, 60
SETTLED_S = 9.0  # a stream younger than this is not judged


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
    if config.kind == "hls":  # no segment ends before the next keyframe, and its length is a rule
        most_ms = min(most_ms, MOST_MS) / SLACK * HLS_SLACK
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


class Inspector:
    """Inspects one channel's stream every few seconds while it lives, and says each thing once."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._told: set[tuple[str, str]] = set()
        self._media: deque[tuple[float, int]] = deque(maxlen=MINUTE_S // EVERY_S + 1)

    def look(self, stream: Stream, configs: Iterable[DestinationConfig], now: float) -> list[Finding]:
        """Look again, ``now`` in monotonic seconds; what was not found before in this stream."""
        if self._media and now - self._media[-1][0] < EVERY_S:
            return []
        if self._media and now - self._media[-1][0] > 2 * EVERY_S:
            self._media.clear()  # the stream was held meanwhile
        self._media.append((now, stream.stats.media_bytes))
        first_at, first = self._media[0]
        if now - first_at < SETTLED_S:
            return []
        kbps = round((stream.stats.media_bytes - first) * 8 / 1000 / (now - first_at))
        self.findings = lint(stream, kbps, configs)
        new = [item for item in self.findings if (item.destination, item.rule) not in self._told]
        self._told.update((item.destination, item.rule) for item in new)
        return new


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
