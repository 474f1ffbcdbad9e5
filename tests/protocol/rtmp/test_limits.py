"""RtmpLimits: the defaults promised, and which of them holds for which message."""

import pytest

from relay.config import LimitSettings
from relay.protocol.rtmp.limits import RtmpLimits, rtmp_limits


@pytest.mark.parametrize(
    ("type_id", "most"),
    [(8, 256 * 1024), (9, 4 * 1024**2), (22, 4 * 1024**2), (18, 64 * 1024), (20, 64 * 1024), (1, 64 * 1024)],
)
def test_message_sizes(type_id: int, most: int) -> None:
    assert RtmpLimits().message_bytes(type_id) == most


def test_defaults_are_those_of_the_settings() -> None:
    assert rtmp_limits(LimitSettings()) == RtmpLimits()


def test_every_parser_limit_comes_from_the_settings() -> None:
    limits = {"chunk_size_min": 200, "amf_depth": 5, "commands_burst": 11, "partial_bytes": 70_000}
    made = rtmp_limits(LimitSettings.model_validate(limits))
    assert {name: getattr(made, name) for name in limits} == limits
