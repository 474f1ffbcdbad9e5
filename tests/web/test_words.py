"""What to do about an error, and how safe a recording is."""

import pytest

from relay.app import App
from relay.control.models import DestinationView, HoldOptions
from relay.web.words import advice, safety


def destination(error: str, platform: str = "custom", state: str = "retrying") -> DestinationView:
    return DestinationView.model_validate(
        {
            "name": "d", "platform": platform, "kind": "rtmp", "method": "PUT", "backup": False,
            "url": "", "hold": HoldOptions(), "fit": None, "ensure_audio": "auto",
            "on_change": "auto", "state": state, "last_error": error, "bytes_sent": 0, "attempts": 1,
            "dropped_packets": 0, "backlog_s": 0.0,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "platform", "told"),
    [
        ("cannot connect to 192.0.2.1:1935: Connection refused", "custom", "Check address and port"),
        ("live.example:1935 did not answer (waited 5 s)", "custom", "Check address and port"),
        ("x.example cannot be looked up (Name or service not known); check the URL", "custom", "typing mistake"),
        ("10.0.0.1 is a private address, which the relay does not dial; set …", "custom", "ALLOW_PRIVATE"),
        ("TLS with x.example failed: certificate has expired", "custom", "clock or certificates"),
        ("a.rtmp.youtube.com refused the stream: NetStream.Publish.BadName", "youtube", "YouTube Studio"),
        ("x.example closed the connection before taking the stream; check URL and stream key", "tiktok", "a new one"),
        ("x.example refused the stream: no", "custom", "what the other server expects"),
        ("x.example has taken nothing for 10 s", "custom", "too narrow"),
        ("x.example closed the connection", "custom", "hung up"),
        ("something nobody has seen", "custom", "goes on trying"),
    ],
)  # fmt: skip
def test_each_kind_of_error_says_what_to_do(error: str, platform: str, told: str) -> None:
    assert told in advice(destination(error, platform))


def test_there_is_nothing_to_do_where_all_is_well() -> None:
    assert advice(destination("", state="live")) == ""
    assert advice(destination("it failed once", state="live")) == ""
    assert advice(destination("it failed once", state="disabled")) == ""


async def test_how_safe_a_recording_is(app: App) -> None:
    view, archive = app.control.channel("demo"), app.archive
    assert archive is not None
    running = view.model_copy(update={"state": "live", "recording": "r"})
    assert safety(view, archive) == ("Nothing to record", "idle")
    assert safety(view.model_copy(update={"state": "live"}), archive) == ("Not recording", "warn")
    assert safety(running, archive) == ("Recording, safe", "good")
    assert safety(running, None) == ("The archive is off", "warn")
    paused = running.model_copy(update={"recording_paused": True})
    assert safety(paused, archive) == ("Not recorded: the disk is nearly full", "bad")
    archive.oldest_unstored_s = lambda: 90.0  # type: ignore[method-assign]
    assert safety(running, archive) == ("On disk; the store is 90 s behind", "warn")
