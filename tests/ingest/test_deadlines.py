"""Deadlines: each stage at its edge."""

import pytest

from relay.config import LimitSettings
from relay.ingest.deadlines import Stage, overdue

LIMITS = LimitSettings(handshake_s=10, first_media_s=20, media_closed_s=60)


@pytest.mark.parametrize(
    ("stage", "most_s", "limit", "clean"),
    [
        (Stage.CONNECT, 10, "handshake", False),
        (Stage.MEDIA, 20, "first_media", False),
        (Stage.MORE, 60, "media_idle", False),
        (Stage.AGAIN, 20, "", True),
    ],
)
def test_a_stage_may_take_what_it_may_and_no_longer(stage: Stage, most_s: float, limit: str, clean: bool) -> None:
    assert overdue(stage, most_s, LIMITS) is None
    late = overdue(stage, most_s + 0.001, LIMITS)
    assert late is not None
    assert (late.limit, late.clean) == (limit, clean)
    assert not limit or f"within {most_s:g} s" in late.reason or f"for {most_s:g} s" in late.reason
