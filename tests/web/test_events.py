"""The event log: what is said is kept by channel, as text, in bounds; keys are covered up."""

from typing import Any

import pytest
import structlog

from relay.config import LogSettings
from relay.logs import setup_logs
from relay.web.events import CHANNELS, KEPT, EventLog


def say(events: EventLog, words: str, **details: Any) -> None:
    events(None, "info", {"event": words, "level": "info", "timestamp": "2026-11-25T23:10:05Z", **details})


def test_kept_by_channel_and_all_together_in_order() -> None:
    events = EventLog()
    say(events, "live", channel="a")
    say(events, "live", channel="b")
    say(events, "stopped")
    assert [event.channel for event in events.since(0)] == ["a", "b", ""]
    assert [event.words for event in events.since(0, "b")] == ["live"]
    assert [event.words for event in events.since(2)] == ["stopped"]
    assert events.since(3) == []
    assert events.since(0, "c") == []


def test_what_is_said_goes_on_as_it_was() -> None:
    said = {"event": "live", "channel": "a", "more": 1}
    assert EventLog()(None, "info", said) is said
    assert said == {"event": "live", "channel": "a", "more": 1}


def test_only_the_newest_are_kept_and_names_without_end_do_not_grow_it() -> None:
    events = EventLog()
    for number in range(KEPT + 10):
        say(events, f"line {number}", channel="a")
    found = events.since(0, "a")
    assert (len(found), found[-1].words) == (KEPT, f"line {KEPT + 9}")
    assert len(events.since(0, "a", most=5)) == 5
    for number in range(CHANNELS + 50):
        say(events, "hello", channel=f"c{number}")
    assert len(events._kept) == CHANNELS


def test_whoever_was_quiet_longest_makes_room_for_a_new_channel() -> None:
    events = EventLog()
    for number in range(CHANNELS):
        say(events, "hello", channel=f"c{number}")
    say(events, "again", channel="c0")
    say(events, "hello", channel="new")
    assert [event.words for event in events.since(0, "c0")] == ["hello", "again"]
    assert events.since(0, "c1") == []
    assert [event.words for event in events.since(0, "new")] == ["hello"]
    assert events._count == CHANNELS + 1 == sum(map(len, events._kept.values()))


def test_many_channels_together_have_a_bound_and_the_loudest_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.web.events.MOST", 100)
    events = EventLog()
    say(events, "once", channel="quiet")
    for number in range(300):
        say(events, f"line {number}", channel=f"loud{number % 2}")
    assert len(events.since(0)) == 100
    assert [event.words for event in events.since(0, "quiet")] == ["once"]
    assert events.since(0)[-1].words == "line 299"


def test_details_are_short_lines_that_a_person_reads() -> None:
    events = EventLog()
    say(
        events, "destination failed", channel="a", destination="yt", reason="refused\nthe stream", next_try_s=2.5,
        bytes_sent=1_500_000, tls=False, names=["x", "y"], kept={"days": 3}, long="x" * 999, empty="", nothing=None,
        recording="20261125T-raw",
    )  # fmt: skip
    shown = events.since(0)[0].shown(lambda text: text)
    assert shown["words"] == "Destination failed"
    details = shown["details"].split(" · ")
    assert details[:7] == [
        "yt",
        "refused the stream",
        "next try 2.5 s",
        "1.5 MB",
        "tls no",
        "names x, y",
        "kept days 3",
    ]
    assert len(details) == 8
    assert len(details[7]) <= 305


def test_keys_are_covered_up() -> None:
    events = EventLog()
    say(events, "KEY said", reason="no such KEY")
    assert events.since(0)[0].shown(lambda text: text.replace("KEY", "***")) == {
        "number": 1, "at": "2026-11-25T23:10:05Z", "level": "info", "channel": "", "words": "*** said",
        "details": "no such ***",
    }  # fmt: skip


def test_it_hears_what_structlog_says() -> None:
    events = EventLog()
    try:
        setup_logs(LogSettings(format="json"), events)
        structlog.get_logger("relay.test").warning("heard", channel="a", reason="why")
        structlog.get_logger("relay.test").debug("not asked for")
    finally:
        structlog.reset_defaults()
    (event,) = events.since(0)
    assert (event.words, event.level, event.channel, event.details) == ("heard", "warning", "a", (("reason", "why"),))
    assert event.at.startswith("20")
