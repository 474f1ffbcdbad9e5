"""Platforms as data: where each takes streams, what it accepts, where its key is found. A new one is one row."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One third party. Bitrates in kbit/s, keyframe intervals in seconds; zero or empty: nothing reliable is known.

    ``url`` empty: the platform gives one per account, source or broadcast, which the operator pastes.
    ``url_is_per_session``: URL or key change with each broadcast. ``enhanced`` False: it fails on Enhanced RTMP
    fields in connect.
    """

    name: str
    label: str
    kind: str = "rtmp"  # of destination
    url: str = ""
    backup_url: str = ""
    url_is_per_session: bool = False
    video: tuple[str, ...] = ()
    keyframe_s: float = 0.0
    keyframe_most_s: float = 0.0
    video_kbps: tuple[int, int] = (0, 0)
    audio: tuple[str, ...] = ()
    audio_kbps: int = 0
    needs_audio: bool = False
    portrait: bool = False  # upright pictures only
    b_frames_most: int | None = None  # in a row
    on_change: str = "send"  # of codec or picture size: send, reconnect or transcode
    enhanced: bool = True
    separate_key: bool = True  # the key is given apart from the URL
    key_help: str
    notes: str = ""


_ROWS = (
    Platform(
        name="youtube",
        label="YouTube",
        url="rtmps://a.rtmps.youtube.com:443/live2",
        backup_url="rtmps://b.rtmps.youtube.com:443/live2?backup=1",
        video=("h264", "hevc", "av1"),
        keyframe_s=2.0,
        keyframe_most_s=4.0,
        video_kbps=(0, 51000),
        audio=("aac",),
        audio_kbps=160,
        key_help="YouTube Studio → Go live → Stream → Stream key",
        notes="May take media into a broadcast that has ended: look at the watch page, not only at this relay.",
    ),
    Platform(
        name="youtube-hls",
        label="YouTube HLS",
        kind="hls",
        url="https://a.upload.youtube.com/http_upload_hls?cid={key}&copy=0&file=",
        backup_url="https://b.upload.youtube.com/http_upload_hls?cid={key}&copy=1&file=",
        video=("h264", "hevc"),
        keyframe_s=2.0,
        keyframe_most_s=4.0,
        video_kbps=(0, 51000),
        audio=("aac",),
        key_help="YouTube Studio → Go live → Stream → a stream key of the type HLS",
        notes="Later than RTMP by some seconds; media held up on the way is still delivered, in order.",
    ),
    Platform(
        name="facebook",
        label="Facebook",
        url="rtmps://live-api-s.facebook.com:443/rtmp/",
        video=("h264",),
        keyframe_s=2.0,
        keyframe_most_s=4.0,
        video_kbps=(400, 6000),
        audio=("aac",),
        audio_kbps=128,
        needs_audio=True,
        on_change="reconnect",
        key_help="facebook.com/live/producer → Streaming software → Stream key",
        notes="At most 8 hours. Audio must be there; codec and picture size must not change during a broadcast.",
    ),
    Platform(
        name="twitch",
        label="Twitch",
        url="rtmp://live.twitch.tv/app",
        video=("h264",),
        keyframe_s=2.0,
        video_kbps=(3000, 6000),
        audio=("aac",),
        audio_kbps=160,
        key_help="Twitch dashboard → Settings → Stream → Primary stream key",
        b_frames_most=2,
        notes="Constant bitrate; at most 48 hours. Disconnect Protection bridges 90 s.",
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
        url_is_per_session=True,
        video=("h264",),
        video_kbps=(2250, 6000),
        audio=("aac",),
        audio_kbps=256,
        key_help="Instagram Live Producer: stream URL and key, new for each broadcast",
        portrait=True,
        notes="Upright pictures, 9:16.",
    ),
    Platform(
        name="tiktok",
        label="TikTok",
        url_is_per_session=True,
        key_help="TikTok Live Center: server URL and stream key, new for each broadcast",
    ),
    Platform(
        name="kick",
        label="Kick",
        video=("h264",),
        keyframe_s=2.0,
        audio=("aac",),
        key_help="Kick dashboard → Settings → Stream URL & key",
    ),
    Platform(
        name="linkedin",
        label="LinkedIn",
        url_is_per_session=True,
        key_help="LinkedIn Live event page: stream URL and key",
    ),
    Platform(
        name="telegram",
        label="Telegram",
        url="rtmps://dc4-1.rtmp.t.me/s/",
        video=("h264",),
        enhanced=False,
        key_help="Telegram channel → Video chat → Stream with…: server URL and stream key",
        notes="The server differs by region: use the URL Telegram shows.",
    ),
    Platform(
        name="custom",
        label="Custom",
        separate_key=False,
        key_help="the key the other server expects; leave it empty if its URL has everything",
    ),
)

PLATFORMS: Mapping[str, Platform] = MappingProxyType({row.name: row for row in _ROWS})
