"""Words: what is wrong with a destination or the archive, and what to do about it, for people who are busy."""

import re
from typing import Literal

from relay.archive.archive import Archive
from relay.control import models
from relay.egress.platforms import PLATFORMS, Platform
from relay.web.pages import span

Tone = Literal["good", "warn", "bad", "idle"]

STATES: dict[str, tuple[str, Tone]] = {
    "live": ("live", "good"),
    "holding": ("holding", "warn"),
    "offline": ("offline", "idle"),
    "idle": ("ready", "idle"),
    "connecting": ("connecting", "warn"),
    "retrying": ("retrying", "bad"),
    "disabled": ("paused", "idle"),
    "recording": ("recording", "good"),
    "complete": ("complete", "idle"),
    "deleting": ("being deleted", "idle"),
}
"""What people see for each state of a channel, destination or recording, and its colour."""

_TLS = "Check that the address is the platform's own; if it is, this server's clock or certificates may be out of date."
_ADVICE = (
    ("does not dial", "Private addresses are refused unless RELAY_OUTBOUND__ALLOW_PRIVATE=true is set."),
    ("looked up|looking up|has no address", "Look for a typing mistake in the address, or check this server's DNS."),
    ("TLS|certificate", _TLS),
    (
        "did not answer|cannot connect",
        "Check address and port. If they are right, the other side is down.",
    ),
    ("taken nothing", "The way there is too narrow: lower the encoder's bitrate, or fit this destination to less."),
    ("refused|stream key", ""),
    (
        "closed|lost|waited|HTTP",
        "The other side hung up. See that the event there is still open.",
    ),
)
"""(what is in the error, what to do): the first that fits; empty: look at the key."""


def advice(destination: models.DestinationView) -> str:
    """What to do about a destination's last error; empty while there is nothing to do."""
    if destination.state not in ("retrying", "connecting") or not destination.last_error:
        return ""
    for pattern, words in _ADVICE:
        if re.search(pattern, destination.last_error):
            return words or _about_the_key(PLATFORMS[destination.platform])
    return "The relay goes on trying. If it stays, compare address and key with what the other side shows."


def _about_the_key(platform: Platform) -> str:
    if platform.name == "custom":
        return "Check address and stream key against what the other server expects, and enter them again."
    again = f"{platform.label} makes a new one for each broadcast. " if platform.url_is_per_session else ""
    return f"Check the stream key and enter it again. {again}It is here: {platform.key_help}."


def safety(channel: models.ChannelView, archive: Archive | None) -> tuple[str, Tone]:
    """How safe a channel's recording is, and the colour of that."""
    if archive is None:
        return "The archive is off", "warn"
    if channel.recording_paused:
        return "Not recorded: the disk is nearly full", "bad"
    if channel.recording is None:
        return ("Not recording", "warn") if channel.state == "live" else ("Nothing to record", "idle")
    late_s = archive.oldest_unstored_s()
    if late_s > 60:
        return f"On disk; the store is {span(late_s)} behind", "warn"
    return "Recording, safe", "good"
