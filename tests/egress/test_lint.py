"""Lint: each rule by the streams that break it, and none for a stream that suits."""

import pytest

from relay.egress.base import DestinationConfig, FitConfig
from relay.egress.lint import Inspector, b_frames, lint
from relay.hub import Stream
from relay.media import Codec, Packet, Track

SOUND = Track(codec=Codec.AAC, header=b"a", sample_rate=48000, channels=2)


def live(
    *,
    codec: Codec = Codec.H264,
    size: tuple[int, int] = (1280, 720),
    keyframe_ms: int = 2000,
    sound: Track | None = SOUND,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> Stream:
    """A stream of two GOPs; ``order``: when the pictures of a GOP are shown, in the order they are sent."""
    stream = Stream("talk")
    picture = Track(codec=codec, header=b"v", width=size[0], height=size[1])
    for start in (0, keyframe_ms):
        stream.write([
            Packet(picture, start + index * 40, start + shown * 40 + 80, index == 0, b"x")
            for index, shown in enumerate(order)
        ])  # fmt: skip
    if sound is not None:
        stream.write([Packet(sound, keyframe_ms + 1, keyframe_ms + 1, True, b"s")])
    return stream


def rules(stream: Stream, platform: str, kbps: int = 4000, **fields: object) -> set[str]:
    config = DestinationConfig("a", "rtmp://x/y", platform=platform, **fields)  # type: ignore[arg-type]
    found = lint(stream, kbps, [config])
    assert all(item.words and item.destination == "a" for item in found)
    return {item.rule for item in found}


def test_a_stream_that_suits_is_left_alone() -> None:
    for platform in ("youtube", "facebook", "twitch", "x", "kick", "custom"):
        assert rules(live(), platform) == set()


@pytest.mark.parametrize(("keyframe_ms", "found"), [(2000, set()), (4040, set()), (4200, {"keyframe_interval"})])
def test_for_hls_keyframes_are_never_further_apart_than_a_segment_is_long(keyframe_ms: int, found: set[str]) -> None:
    for platform in ("youtube-hls", "custom"):
        assert rules(live(keyframe_ms=keyframe_ms), platform, kind="hls") == found
        assert rules(live(keyframe_ms=keyframe_ms), platform, kind="hls", fit=FitConfig(keyframe_s=2)) == set()


@pytest.mark.parametrize(
    ("stream", "platform", "kbps", "rule"),
    [
        (live(keyframe_ms=8000), "youtube", 4000, "keyframe_interval"),
        (live(keyframe_ms=8000), "custom", 4000, "keyframe_interval"),
        (live(), "twitch", 400, "low_bitrate"),
        (live(), "facebook", 9000, "high_bitrate"),
        (live(codec=Codec.HEVC), "facebook", 4000, "video_codec"),
        (live(sound=Track(codec=Codec.OPUS, header=b"o")), "youtube", 4000, "audio_codec"),
        (live(order=(0, 4, 1, 2, 3)), "twitch", 4000, "b_frames"),
        (live(), "instagram", 4000, "shape"),
    ],
)
def test_each_rule(stream: Stream, platform: str, kbps: int, rule: str) -> None:
    assert rules(stream, platform, kbps) == {rule}
    assert rules(stream, platform, kbps, enabled=False) == set()


def test_missing_sound_matters_where_silence_is_switched_off() -> None:
    assert rules(live(sound=None), "facebook") == set(), "silence is sent instead"
    assert rules(live(sound=None), "facebook", ensure_audio="off") == {"no_audio"}
    assert rules(live(sound=None), "youtube") == set()


def test_what_is_made_to_fit_is_not_judged_by_what_comes() -> None:
    stream = live(codec=Codec.HEVC, keyframe_ms=9000)
    assert rules(stream, "facebook", 100, fit=FitConfig(height=720)) == set()
    assert rules(stream, "facebook", 100, on_change="transcode") == set()


def test_an_unknown_bitrate_is_no_fault() -> None:
    assert rules(live(), "twitch", 0) == set()


def test_runs_of_b_frames() -> None:
    assert b_frames(live().gop) == 0
    assert b_frames(live(order=(0, 2, 1, 4, 3)).gop) == 1
    assert b_frames(live(order=(0, 4, 1, 2, 3)).gop) == 3
    assert b_frames([]) == 0


def test_a_hold_does_not_make_the_bitrate_low() -> None:
    stream, inspector = live(), Inspector()
    config = DestinationConfig("a", "rtmp://x/y", platform="twitch")
    for second in range(0, 60, 5):
        stream.stats.media_bytes += 4000 * 125 * 5
        assert inspector.look(stream, [config], float(second)) == []
    for second in range(160, 200, 5):
        stream.stats.media_bytes += 4000 * 125 * 5
        assert inspector.look(stream, [config], float(second)) == []
