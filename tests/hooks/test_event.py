"""Events as JSON, and their signature."""

import json

from relay.hooks.event import EVENTS, Event, signature
from relay.secret import Secret


def test_the_body_holds_everything_in_one_line() -> None:
    event = Event(id="abc", name="recording.gap", at=1.23456, channel="talk", data={"reason": "link lost\n</script>"})
    body = event.body()
    assert b"\n" not in body
    assert json.loads(body) == {
        "id": "abc",
        "event": "recording.gap",
        "at": 1.235,
        "channel": "talk",
        "data": {"reason": "link lost\n</script>"},
    }


def test_the_signature_is_an_hmac_over_time_and_body() -> None:
    # printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
    assert signature(Secret("0123456789abcdef"), 1_700_000_000, b'{"a":1}') == (
        "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
    )


def test_every_event_is_explained() -> None:
    assert all(name == "ping" or "." in name for name in EVENTS)
    assert all(EVENTS.values())
