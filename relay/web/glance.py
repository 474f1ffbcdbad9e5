"""Glance: a channel as the console shows it, every text ready to be put on the page, by template and script alike."""

import time
from typing import Any

from relay.archive.archive import Archive
from relay.control import models
from relay.control.clear import HINT
from relay.control.history import Sample
from relay.control.panel import begun
from relay.egress.platforms import PLATFORMS
from relay.web.pages import rate, size, span
from relay.web.words import STATES, Tone, advice, safety

_CODECS = {"h264": "H.264", "hevc": "HEVC", "av1": "AV1", "vp9": "VP9", "aac": "AAC", "opus": "Opus", "mp3": "MP3"}
_QUALITY: dict[str, Tone] = {"good": "good", "fair": "warn", "poor": "bad"}
_VIEWERS = {"off": "Nobody but you", "signed": "Whoever has a link", "public": "Everybody"}


def channel_glance(channel: models.ChannelView, archive: Archive | None, sample: Sample | None) -> dict[str, Any]:
    """One channel in a list: fields of text, and ``*_tone`` for their colours."""
    state, tone = STATES[channel.state]
    up = sum(item.state == "live" for item in channel.destinations)
    enabled = sum(item.state != "disabled" for item in channel.destinations)
    safe, safe_tone = safety(channel, archive)
    is_on = channel.state != "offline"
    return {
        "state": state,
        "state_tone": tone,
        "bitrate": rate(channel.health.kbps_10s if sample is None else sample.kbps) if is_on else "–",
        "since": _since(channel),
        "up": "None" if not enabled else f"{up} of {enabled} up" if is_on else f"{enabled} ready",
        "up_tone": _up_tone(is_on, up, enabled),
        "archive": safe,
        "archive_tone": safe_tone,
        "media": _media(channel.tracks),
        "trouble": _trouble(channel),
    }


def channel_detail(channel: models.ChannelView, archive: Archive | None, sample: Sample | None) -> dict[str, Any]:
    """Everything about a channel that changes while its page is open."""
    is_on = channel.state != "offline"
    health = channel.health
    return {
        **channel_glance(channel, archive, sample),
        "media": _media(channel.tracks) or "–",
        "publisher": _publisher(channel),
        "quality": {"unknown": "–"}.get(health.quality, health.quality) if is_on else "–",
        "quality_tone": {"good": "good", "fair": "warn", "poor": "bad"}.get(health.quality, "idle")
        if is_on
        else "idle",
        "lag": f"{health.lag_s:.1f} s" if is_on and health.quality != "unknown" else "–",
        "fps": f"{sample.fps:.0f}" if is_on and sample is not None else "–",
        "suggested": rate(health.suggested_kbps) if is_on and health.suggested_kbps else "–",
        "held": f"held for {span(channel.held_s)} so far" if is_on and channel.held_s >= 1 else "",
        "warnings": warnings(channel),
        "hint": next((sentence(item.words) for item in channel.lint if item.rule == HINT), ""),
        "viewers": _VIEWERS[channel.viewers],
        "recording": channel.recording or "",
        "sample": None if sample is None or not is_on else list(sample),
        "destinations": {item.name: destination_glance(item) for item in channel.destinations},
    }


def destination_glance(item: models.DestinationView) -> dict[str, str]:
    """One destination: its state, what is wrong, and what to do."""
    state, tone = STATES[item.state]
    words = {
        "idle": "waiting for the channel to be live",
        "connecting": "connecting",
        "disabled": "paused: nothing is sent",
    }.get(item.state, "")
    if item.state == "live":
        words = f"{size(item.bytes_sent)} sent"
        if item.backlog_s >= 1:
            words += f", {item.backlog_s:.0f} s behind"
    is_wrong = item.state in ("retrying", "connecting") and bool(item.last_error)
    return {
        "state": state,
        "state_tone": tone,
        "words": "" if is_wrong else words[:1].upper() + words[1:],
        "error": sentence(item.last_error) if is_wrong else "",
        "advice": advice(item),
        "dropped": f"{item.dropped_packets} packets left out" if item.dropped_packets else "",
        "label": PLATFORMS[item.platform].label,
    }


def warnings(channel: models.ChannelView) -> list[str]:
    """What somebody should look at."""
    found = [
        f"{finding.destination}: {finding.words}" if finding.destination else sentence(finding.words)
        for finding in channel.lint
        if finding.rule != HINT
    ]
    if channel.is_contested:
        found.insert(0, "Two encoders keep taking this key from each other: stop one of them, or change the key.")
    if channel.recording_paused:
        found.insert(0, "Nothing is recorded: the disk is nearly full. Delete recordings, or give it more room.")
    return found


def sentence(text: str) -> str:
    """``text`` as a sentence by itself; host names at its beginning stay as they are."""
    text = begun(text.strip())
    return text if text.endswith((".", "!", "?", ")")) or not text else f"{text}."


def _trouble(channel: models.ChannelView) -> str:
    """The worst thing about a channel in one line."""
    if channel.recording_paused or channel.is_contested:
        return warnings(channel)[0]
    failed = [item.name for item in channel.destinations if item.state == "retrying"]
    if failed:
        return f"{', '.join(failed)} {'does' if len(failed) == 1 else 'do'} not take the stream"
    if channel.state == "holding":
        return "The publisher is away; destinations are held"
    return ""


def _up_tone(is_on: bool, up: int, enabled: int) -> Tone:
    if not is_on or not enabled:
        return "idle"
    return "good" if up == enabled else "bad" if not up else "warn"


def _since(channel: models.ChannelView) -> str:
    if channel.state == "holding":
        return "away"
    if channel.publisher is None:
        return "nobody publishes"
    return f"for {span(max(0.0, round(time.time() - channel.publisher.connected_at)))}"


def _publisher(channel: models.ChannelView) -> str:
    who = channel.publisher
    if who is None:
        return "Away; destinations are held meanwhile" if channel.state == "holding" else "Nobody yet"
    encrypted = "encrypted" if who.encrypted else "in the clear"
    protocol = who.protocol.removesuffix(" pull")
    name = "HLS" if protocol == "hlss" else protocol.upper()
    if protocol != who.protocol:
        return f"Pulled from {who.address}, {name} {encrypted}"
    return f"{who.encoder or 'Unknown encoder'} at {who.address}, {name} {encrypted}"


def _media(tracks: list[models.TrackView]) -> str:
    words = []
    for track in tracks:
        codec = _CODECS.get(track.codec, track.codec.upper())
        if track.kind == "video":
            words.append(f"{codec} {track.width}×{track.height}")
        else:
            words.append(f"{codec} {track.sample_rate / 1000:g} kHz")
    return ", ".join(words)
