"""What the console shows of a channel: texts and colours, ready to be put on a page."""

import time

from relay.app import App
from relay.control.history import Sample
from relay.control.models import DestinationView, FindingView, HoldOptions, PublisherView, TrackView
from relay.web.glance import channel_detail, channel_glance, destination_glance, sentence, warnings

PUBLISHER = PublisherView(
    protocol="rtmp", address="192.0.2.7", encoder="Larix", encrypted=True, connected_at=0.0,
    bytes_received=0, rtt_s=None, out_of_order=0,
)  # fmt: skip
TRACKS = [
    TrackView(kind="video", codec="h264", codec_string="", width=1280, height=720, sample_rate=0, channels=0),
    TrackView(kind="audio", codec="aac", codec_string="", width=0, height=0, sample_rate=44_100, channels=2),
]


def destination(name: str, state: str, error: str = "", **more: object) -> DestinationView:
    return DestinationView.model_validate(
        {
            "name": name, "platform": "custom", "kind": "rtmp", "method": "PUT",
            "backup": False, "url": "rtmp://x.example/live", "hold": HoldOptions(), "fit": None,
            "ensure_audio": "auto", "on_change": "auto", "state": state, "last_error": error,
            "bytes_sent": 5_000_000, "attempts": 1, "dropped_packets": 0, "backlog_s": 0.0, **more,
        }
    )  # fmt: skip


def test_a_channel_nobody_publishes_to(app: App) -> None:
    shown = channel_detail(app.control.channel("demo"), app.archive, None)
    assert (shown["state"], shown["state_tone"], shown["since"]) == ("offline", "idle", "nobody publishes")
    assert (shown["bitrate"], shown["fps"], shown["lag"], shown["quality"]) == ("–", "–", "–", "–")
    assert (shown["up"], shown["publisher"], shown["media"]) == ("None", "Nobody yet", "–")
    assert (shown["sample"], shown["warnings"], shown["trouble"]) == (None, [], "")


def test_a_live_channel(app: App) -> None:
    publisher = PUBLISHER.model_copy(update={"connected_at": time.time() - 600})
    destinations = [destination("a", "live"), destination("b", "retrying", "x"), destination("c", "disabled")]
    view = app.control.channel("demo").model_copy(
        update={
            "state": "live", "publisher": publisher, "tracks": TRACKS, "recording": "r", "destinations": destinations,
            "held_s": 12.0,
        }
    )  # fmt: skip
    sample = Sample(1.0, 2400, 29.97, 0.3)
    assert channel_glance(view.model_copy(update={"state": "offline"}), app.archive, None)["up"] == "2 ready"
    shown = channel_detail(view, app.archive, sample)
    assert (shown["state"], shown["state_tone"], shown["since"]) == ("live", "good", "for 10 min")
    assert (shown["bitrate"], shown["fps"], shown["sample"]) == ("2.4 Mbit/s", "30", list(sample))
    assert (shown["up"], shown["up_tone"]) == ("1 of 2 up", "warn")
    assert shown["trouble"] == "b does not take the stream"
    assert shown["publisher"] == "Larix at 192.0.2.7, RTMP encrypted"
    for protocol, said in (
        ("hlss", "Larix at 192.0.2.7, HLS encrypted"),
        ("hls pull", "Pulled from 192.0.2.7, HLS encrypted"),
    ):
        came = view.model_copy(update={"publisher": publisher.model_copy(update={"protocol": protocol})})
        assert channel_detail(came, app.archive, sample)["publisher"] == said
    assert shown["media"] == "H.264 1280×720, AAC 44.1 kHz"
    assert shown["held"] == "held for 12 s so far"
    assert set(shown["destinations"]) == {"a", "b", "c"}
    none_up = view.model_copy(update={"destinations": destinations[1:]})
    assert channel_glance(none_up, app.archive, sample)["up_tone"] == "bad"


def test_a_held_channel(app: App) -> None:
    view = app.control.channel("demo").model_copy(update={"state": "holding"})
    shown = channel_detail(view, app.archive, None)
    assert (shown["state"], shown["state_tone"], shown["since"]) == ("holding", "warn", "away")
    assert shown["trouble"] == "The publisher is away; destinations are held"


def test_what_somebody_should_look_at_comes_first(app: App) -> None:
    finding = FindingView(destination="a", rule="keyframes", words="set the keyframe interval to 2 s")
    view = app.control.channel("demo").model_copy(
        update={"lint": [finding], "is_contested": True, "recording_paused": True}
    )
    found = warnings(view)
    assert found[0].startswith("Nothing is recorded")
    assert found[1].startswith("Two encoders")
    assert found[2] == "a: set the keyframe interval to 2 s"
    assert channel_glance(view, app.archive, None)["trouble"] == found[0]


def test_a_destination_in_each_state() -> None:
    assert destination_glance(destination("a", "live", backlog_s=3.2))["words"] == "5.0 MB sent, 3 s behind"
    assert destination_glance(destination("a", "idle"))["words"] == "Waiting for the channel to be live"
    assert destination_glance(destination("a", "disabled", "old"))["error"] == ""
    failing = destination_glance(destination("a", "retrying", "cannot connect to x:1: Connection refused"))
    assert failing["error"] == "Cannot connect to x:1: Connection refused."
    assert failing["advice"].startswith("Check address")
    assert failing["words"] == ""
    assert destination_glance(destination("a", "live", dropped_packets=7))["dropped"] == "7 packets left out"


def test_sentences_leave_host_names_alone() -> None:
    assert sentence("x.example closed the connection") == "x.example closed the connection."
    assert sentence("cannot connect") == "Cannot connect."
    assert sentence("it waited (5 s)") == "It waited (5 s)"
    assert sentence("") == ""


def test_a_publisher_in_the_clear_is_a_warning_or_a_hint(app: App) -> None:
    view = app.control.channel("demo")

    def shown(rule: str) -> tuple[list[str], str]:
        found = FindingView(destination="", rule=rule, words="this publisher is not encrypted; do that")
        detail = channel_detail(view.model_copy(update={"lint": [found]}), app.archive, None)
        return detail["warnings"], detail["hint"]

    words = "This publisher is not encrypted; do that."
    assert shown("in_the_clear") == ([words], "")
    assert shown("in_the_clear_hint") == ([], words)
    assert shown("keyframe_interval")[1] == ""
