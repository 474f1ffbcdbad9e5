"""Panel: how a channel is doing, in plain words for whoever streams: few, short, and without a key or an address."""

import time
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel

from relay.archive.archive import Archive
from relay.control import models
from relay.database import RecordingsRepo
from relay.egress.platforms import PLATFORMS
from relay.hub import Hub

KEEP_S = 1.0  # looked at by many at once, the catalog is asked once
ERROR_LETTERS = 120

Tone = Literal["good", "warn", "bad", "idle"]


class Panel(BaseModel):
    """What the page shows. ``places``: (label, tone, words) of each platform by its name."""

    tone: Tone
    head: str
    sub: str
    link: str
    advice: str
    recorded: str
    safe: str
    gaps: str
    places: dict[str, tuple[str, Tone, str]]


class Panels:
    """Looks at channels for the pages of those who stream."""

    def __init__(
        self, channel: Callable[[str], models.ChannelView], hub: Hub, archive: Archive | None, catalog: RecordingsRepo
    ) -> None:
        self._channel = channel
        self._hub = hub
        self._archive = archive
        self._catalog = catalog
        self._kept: dict[str, tuple[float, Panel]] = {}

    async def look(self, name: str) -> Panel:
        """The channel as it is, or was a second ago. Raises NotFoundError."""
        now = time.monotonic()
        self._kept = {key: item for key, item in self._kept.items() if now - item[0] < KEEP_S}
        if name not in self._kept:
            view = self._channel(name)
            self._kept[name] = (now, self._made(view, await self._recorded(view)))
        return self._kept[name][1]

    def _made(self, view: models.ChannelView, recorded: tuple[str, str, str]) -> Panel:
        tone, head, sub = self._state(view)
        link, advice = _link(view)
        if view.recording_paused:
            tone = "bad" if tone != "idle" else tone
        return Panel(
            tone=tone,
            head=head,
            sub=sub,
            link=link,
            advice=advice,
            recorded=recorded[0],
            safe=recorded[1],
            gaps=recorded[2],
            places={place.name: _place(place, view.state) for place in view.destinations},
        )

    def _state(self, view: models.ChannelView) -> tuple[Tone, str, str]:
        if view.state == "holding":
            stream = self._hub.streams.get(view.name)
            since = None if stream is None else stream.stats.holding_since
            left_s = self._hub.hold_of(view.name) - (0 if since is None else time.monotonic() - since)
            return "bad", "Link lost", f"{_seen(view)}, {clock(max(0, left_s))} left. Keep your app on."
        if view.state == "live":
            if view.is_contested:
                return "bad", "Two phones, one key", "Two encoders take this channel from each other: stop one of them."
            if view.health.quality == "poor":
                return "warn", "You are live", "But the link is weak: see below."
            return "good", "You are live", "All is well on the way here."
        if view.publisher is not None:
            return "warn", "Your phone is here", "It has sent no picture yet."
        return "idle", "Waiting for your phone", "Start the stream in your app."

    async def _recorded(self, view: models.ChannelView) -> tuple[str, str, str]:
        """(what is recorded, what of it is in the store, what is missing)."""
        if self._archive is None:
            return "Nothing is recorded here", "", ""
        if view.recording_paused:
            return "Not recorded now: the relay's disk is full", "Tell your operator", ""
        if view.recording is None:
            rows = await self._catalog.newest(view.name, limit=1)
            if not rows:
                return "Nothing recorded yet", "", ""
            newest, running_s = rows[0].id, 0.0
        else:
            newest, running_s = view.recording, self._archive.kept_s(view.name)
        packaged_s, safe_s, gaps, gap_s = await self._catalog.progress(newest)
        whole_s = max(packaged_s, running_s - gap_s)
        when = "recorded" if view.recording is not None else "in the last recording"
        return f"{clock(whole_s)} {when}", f"{clock(safe_s)} of it safe in the store", _gaps(gaps, gap_s)


def _seen(view: models.ChannelView) -> str:
    """What viewers see in a hold."""
    modes = {place.hold.mode for place in view.destinations if place.state != "disabled"}
    if modes == {"off"}:
        return "Viewers see nothing new"
    if modes == {"slate"}:
        return "Viewers see the pause picture"
    return "Viewers see the last picture"


def _link(view: models.ChannelView) -> tuple[str, str]:
    """(how the link is, what to set in the encoder)."""
    health = view.health
    if view.state == "offline" or health.quality == "unknown":
        return "Nothing to measure yet" if view.state == "offline" else "Measuring…", ""
    if view.state == "holding":
        return "Nothing arrives from your phone", ""
    name = {"good": "Good", "fair": "Fair", "poor": "Poor"}[health.quality]
    late = f", {health.lag_s:.0f} s late" if health.lag_s >= 1 else ""
    stalls = "" if not health.stalls else f", {health.stalls} stall{'s' if health.stalls > 1 else ''} in a minute"
    advice = f"{health.suggested_kbps} kbit/s" if health.suggested_kbps else ""
    return f"{name}: {health.kbps_10s} kbit/s{late}{stalls}", advice


def _place(place: models.DestinationView, channel: str) -> tuple[str, Tone, str]:
    """A platform's state for people: (label, tone, words)."""
    known = PLATFORMS.get(place.platform)
    label = place.name if known is None or known.name == "custom" else known.label
    if label != place.name and place.name != place.platform:
        label = f"{label} ({place.name})"
    if place.state == "live":
        return (label, "good", "Live") if channel == "live" else (label, "warn", "Kept while your link is away")
    if place.state == "connecting":
        return label, "warn", "Connecting…"
    if place.state == "retrying":
        why = begun(place.last_error)
        why = why if len(why) <= ERROR_LETTERS else f"{why[: ERROR_LETTERS - 1]}…"
        return label, "bad", f"Does not get through, trying again. {why}".strip()
    return label, "idle", "Switched off" if place.state == "disabled" else "Starts when you are live"


def begun(text: str) -> str:
    """``text`` with a capital; a host name at its beginning stays as it is."""
    return text[0].upper() + text[1:] if text.split(" ", 1)[0].isalpha() else text


def _gaps(many: int, seconds: float) -> str:
    if not many:
        return "No gaps"
    return f"{many} gap{'s' if many > 1 else ''}, {seconds:.0f} s in all"


def clock(seconds: float) -> str:
    """1:05 or 1:02:05."""
    whole = int(seconds)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
