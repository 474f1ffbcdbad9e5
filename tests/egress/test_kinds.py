"""The table of kinds covers what platforms and URLs can be."""

import ssl

from relay.config import Settings
from relay.egress.base import Attempt, DestinationConfig, DestinationTotals, Owner
from relay.egress.kinds import KINDS
from relay.egress.platforms import PLATFORMS
from relay.hub import Stream
from relay.secret import Secret

URLS = {"rtmp": "rtmp://h/app", "hls": "https://h/up"}


def test_each_platform_is_of_a_kind_there_is() -> None:
    assert {row.kind for row in PLATFORMS.values()} == set(KINDS)


async def test_each_kind_makes_an_attempt_that_has_nothing_to_end_yet() -> None:
    async def tls() -> ssl.SSLContext:
        return ssl.create_default_context()

    owner = Owner(lambda: None, lambda error: None, lambda: False)
    for kind, make in KINDS.items():
        config = DestinationConfig("d", URLS[kind], Secret("k"), kind=kind)
        attempt: Attempt = make(config, Stream("talk"), Settings(), DestinationTotals(), owner, tls)
        assert (attempt.backlog_ms, attempt.dropped, attempt.unsent) == (0, 0, 0)
        assert not attempt.say_goodbye()
        assert not attempt.finish()
