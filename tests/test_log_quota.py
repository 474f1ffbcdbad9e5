"""Log quota: a source that shouts is cut short and counted, and the others are heard."""

import asyncio
from collections import Counter

import structlog

from relay.log_quota import LINES, LogQuota


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def said(quota: LogQuota, event: str, times: int = 1, **more: str) -> int:
    """How many of ``times`` lines go on."""
    passed = 0
    for _ in range(times):
        try:
            quota(None, "info", {"event": event, **more})
        except structlog.DropEvent:
            continue
        passed += 1
    return passed


def test_strangers_share_their_lines_and_what_is_left_out_is_told_once_the_second_is_over() -> None:
    clock = Clock()
    quota = LogQuota(clock)
    with structlog.testing.capture_logs() as told:
        assert said(quota, "connection refused", 40, address="192.0.2.1") == 40
        assert said(quota, "connection ended", 40, address="192.0.2.2") == LINES - 40
        assert said(quota, "refused", 5, address="192.0.2.3") == 0
        assert told == []
        clock.now += 1
        assert said(quota, "publishing", channel="demo", address="192.0.2.4") == 1
        assert said(quota, "connection refused", 1, address="192.0.2.1") == 1
    assert told == [
        {
            "event": "log lines left out",
            "log_level": "warning",
            "source": "strangers",
            "lines": 35,
            "of": Counter({"connection ended": 30, "refused": 5}),
        }
    ]


def test_channels_and_the_relay_itself_are_heard_beside_them() -> None:
    quota = LogQuota(Clock())
    assert said(quota, "connection refused", 2000, address="192.0.2.1") == LINES
    assert said(quota, "live", 2, channel="demo", address="192.0.2.1") == 2
    assert said(quota, "live", 2, channel="other") == 2
    assert said(quota, "holding", 2 * LINES, channel="demo") == LINES - 2
    assert said(quota, "stopping") == 1
    assert said(quota, "the disk fails", 2 * LINES) == LINES


async def test_the_count_is_told_when_nothing_more_is_said() -> None:
    quota = LogQuota()
    with structlog.testing.capture_logs() as told:
        said(quota, "connection refused", 5 * LINES, address="192.0.2.1")
        async with asyncio.timeout(10):
            while not told:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
    assert told[0]["event"] == "log lines left out"
