"""Rows of platforms: each is whole, dialable and consistent with itself."""

import pytest

from relay.egress.base import DestinationConfig, publish_address
from relay.egress.hls_address import upload_url
from relay.egress.platforms import PLATFORMS, Platform
from relay.media import Codec
from relay.secret import Secret

WANTED = {
    "youtube",
    "facebook",
    "twitch",
    "x",
    "kick",
    "instagram",
    "linkedin",
    "telegram",
    "tiktok",
    "custom",
    "youtube-hls",
}


def test_the_presets_are_there() -> None:
    assert set(PLATFORMS) == WANTED


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)
def test_each_row_is_consistent(platform: Platform) -> None:
    assert PLATFORMS[platform.name] is platform
    assert platform.label
    assert platform.key_help
    codecs = {codec.value: codec.kind.value for codec in Codec}
    assert all(codecs[name] == "video" for name in platform.video)
    assert all(codecs[name] == "audio" for name in platform.audio)
    least, most = platform.video_kbps
    assert 0 <= least <= most
    assert platform.keyframe_most_s == 0 or platform.keyframe_s <= platform.keyframe_most_s
    assert not (platform.url and platform.url_is_per_session), "a URL that changes is no preset"
    for url in filter(None, (platform.url, platform.backup_url)):
        if platform.kind == "hls":
            assert "key" in str(upload_url(url, "key", "index.m3u8"))
            continue
        address, name = publish_address(DestinationConfig("d", url, Secret("key"), platform.name))
        assert address.app
        assert name == "key"


def test_facts_that_change_what_is_sent() -> None:
    assert not PLATFORMS["telegram"].enhanced
    assert PLATFORMS["youtube"].enhanced
    assert PLATFORMS["facebook"].needs_audio
    for name in ("youtube", "facebook", "telegram"):
        assert PLATFORMS[name].url.startswith("rtmps://")
