"""Platforms as data: where each takes streams, what it accepts, where its key is found. A new one is one row."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One third party. Bitrates in kbit/s, keyframe intervals in seconds; zero or empty: nothing reliable is known.

    ``url`` empty: the platform gives a URL per broadcast or per account, which the operator pastes. ``enhanced``
    False: it fails on Enhanced RTMP fields in connect.
    """

    name: str
    label: str
    url: str = ""
    backup_url: str = ""
    video: tuple[str, ...] = ("h264",)
    keyframe_s: float = 2.0
    video_kbps: tuple[int, int] = (0, 0)
    audio_kbps: int = 0
    needs_audio: bool = False
    enhanced: bool = True
    key_help: str = "the stream key from the platform's live page"


_ROWS = (
    Platform(
        name="youtube",
        label="YouTube",
        url="rtmps://a.rtmps.youtube.com:443/live2",
        backup_url="rtmps://b.rtmps.youtube.com:443/live2?backup=1",
        video=("h264", "hevc", "av1"),
        video_kbps=(0, 51000),
        audio_kbps=160,
        key_help="YouTube Studio → Go live → Stream → Stream key",
    ),
    Platform(
        name="facebook",
        label="Facebook",
        url="rtmps://live-api-s.facebook.com:443/rtmp/",
        video_kbps=(400, 6000),
        audio_kbps=128,
        needs_audio=True,
        key_help="facebook.com/live/producer → Streaming software → Stream key",
    ),
    Platform(
        name="twitch",
        label="Twitch",
        url="rtmp://live.twitch.tv/app",
        video_kbps=(3000, 6000),
        audio_kbps=160,
        key_help="Twitch dashboard → Settings → Stream → Primary stream key",
    ),
    Platform(
        name="x",
        label="X",
        keyframe_s=3.0,
        video_kbps=(0, 12000),
        audio_kbps=128,
        key_help="X Media Studio → Producer → Sources: RTMP URL and stream key of the source",
    ),
    Platform(
        name="instagram",
        label="Instagram",
        video_kbps=(2250, 6000),
        audio_kbps=256,
        key_help="Instagram Live Producer: stream URL and key, new for each broadcast",
    ),
    Platform(
        name="tiktok",
        label="TikTok",
        key_help="TikTok Live Center: server URL and stream key, new for each broadcast",
    ),
    Platform(
        name="kick",
        label="Kick",
        key_help="Kick dashboard → Settings → Stream URL & key",
    ),
    Platform(
        name="linkedin",
        label="LinkedIn",
        key_help="LinkedIn Live event page: stream URL and key",
    ),
    Platform(
        name="telegram",
        label="Telegram",
        url="rtmps://dc4-1.rtmp.t.me/s/",
        enhanced=False,
        key_help="Telegram channel → Video chat → Stream with…: server URL and stream key",
    ),
    Platform(
        name="custom",
        label="Custom RTMP",
        video=("h264", "hevc", "av1", "vp9"),
        key_help="the key the other server expects; leave it empty if its URL has everything",
    ),
)

PLATFORMS: Mapping[str, Platform] = MappingProxyType({row.name: row for row in _ROWS})
