"""RtmpLimits: the defaults promised, and which of them holds for which message."""

import pytest

from relay.config import LimitSettings
from relay.protocol.rtmp.limits import RtmpLimits


@pytest.mark.parametrize(
    ("type_id", "most"),
    [(8, 256 * 1024), (9, 4 * 1024**2), (22, 4 * 1024**2), (18, 64 * 1024), (20, 64 * 1024), (1, 64 * 1024)],
)
def test_message_sizes(type_id: int, most: int) -> None:
    assert RtmpLimits().message_bytes(type_id) == most


def test_defaults_are_those_of_the_settings() -> None:
    settings = LimitSettings()
    limits = RtmpLimits()
    for name in ("chunk_size_min", "chunk_streams", "partial_bytes", "pre_auth_bytes", "amf_depth", "commands_burst"):
        assert getattr(limits, name) == getattr(settings, name)
