"""Commands for channels and their keys."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from relay.cli.destinations import show_destinations
from relay.cli.shared import Chosen, Json, add, out, plain, secret
from relay.errors import ConflictError, InvalidError


class Viewers(StrEnum):
    """Who may watch a channel."""

    OFF = "off"
    SIGNED = "signed"
    PUBLIC = "public"


channel_app = typer.Typer(help="Channels and their stream keys.", no_args_is_help=True)


@channel_app.command("add")
def channel_add(
    name: str,
    key: Annotated[str, typer.Option(help="Stream key of your own; - reads it from standard input.")] = "",
    as_json: Json = False,
) -> None:
    """Create a channel and show how to publish to it."""
    body: dict[str, Any] = {"name": name}
    if key:
        body["stream_key"] = secret(key)
    show_channel(Chosen.client().call("POST", "channels", body=body), as_json)


@channel_app.command("list")
def channel_list(as_json: Json = False) -> None:
    """Every channel at a glance."""
    answer = Chosen.client().call("GET", "channels")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    if not answer["channels"]:
        out.print("no channels yet; make one with `relay channel add NAME`", highlight=False)
        return
    table = Table("channel", "state", "publisher", "media", "destinations", box=None)
    for channel in answer["channels"]:
        publisher = channel["publisher"]
        live = sum(item["state"] == "live" for item in channel["destinations"])
        media = ", ".join(_track(track) for track in channel["tracks"])
        where = publisher["address"] if publisher else "-"
        add(
            table,
            channel["name"],
            channel["state"],
            where,
            media or "-",
            f"{live} of {len(channel['destinations'])} live",
        )
    out.print(table)


@channel_app.command("show")
def channel_show(name: str, as_json: Json = False) -> None:
    """One channel with its keys and destinations."""
    show_channel(Chosen.client().call("GET", "channels", name), as_json)


@channel_app.command("remove")
def channel_remove(name: str) -> None:
    """Delete a channel; its stream ends, its keys stop working, its recordings stay."""
    Chosen.client().call("DELETE", "channels", name)
    out.print(f"channel {name} removed", highlight=False)


@channel_app.command("archive")
def channel_archive(
    name: str,
    priority: Annotated[int | None, typer.Option(help="When the disk is full, the lowest pauses first.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Delete recordings older than this; 0: keep all.")] = None,
    keep_gb: Annotated[float | None, typer.Option(help="Keep the newest up to this size in GB; 0: keep all.")] = None,
    as_json: Json = False,
) -> None:
    """How the channel's recordings are kept. What is not given stays as it is."""
    client = Chosen.client()
    options = client.call("GET", "channels", name)["archive"]
    for key, value in (("priority", priority), ("keep_days", keep_days), ("keep_gb", keep_gb)):
        if value is not None:
            options[key] = value if value or key == "priority" else None
    show_channel(client.call("PATCH", "channels", name, body={"archive": options}), as_json)


@channel_app.command("source")
def channel_source(
    name: str,
    url: Annotated[str, typer.Argument(help="http(s):// of an HLS playlist, or rtmp(s)://; - reads it.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="'Name: value', sent with each request.")] = None,
    max_kbps: Annotated[int, typer.Option(help="The best variant up to this; 0: the best.")] = 0,
    none: Annotated[bool, typer.Option("--none", help="Pull from nowhere any more.")] = False,
    as_json: Json = False,
) -> None:
    """Pull the channel's stream from somewhere else, while nobody publishes to it."""
    if none == bool(url):
        raise InvalidError("give the URL to pull from, or --none")
    source: dict[str, Any] | None = None
    if url:
        pairs = [text.partition(":") for text in header or []]
        if any(not mark for _, mark, _ in pairs):
            raise InvalidError("write headers as 'Name: value'")
        headers = {key.strip(): value.strip() for key, _, value in pairs}
        source = {"url": secret(url), "headers": headers, "max_kbps": max_kbps}
    show_channel(Chosen.client().call("PATCH", "channels", name, body={"source": source}), as_json)


@channel_app.command("expect")
def channel_expect(
    name: str, off: Annotated[bool, typer.Option("--off", help="No longer.")] = False, as_json: Json = False
) -> None:
    """Say that the channel is meant to be live now: monitoring warns while it is not."""
    show_channel(Chosen.client().call("PATCH", "channels", name, body={"expected": not off}), as_json)


@channel_app.command("viewers")
def channel_viewers(
    name: str,
    who: Annotated[Viewers, typer.Argument(help="off: nobody but you; signed: with a link or the read key; public.")],
    as_json: Json = False,
) -> None:
    """Who may watch the channel."""
    show_channel(Chosen.client().call("PATCH", "channels", name, body={"viewers": who.value}), as_json)


@channel_app.command("link")
def channel_link(
    name: str,
    hours: Annotated[float, typer.Option(help="How long the link works.")] = 24,
    as_json: Json = False,
) -> None:
    """A link to watch the channel that opens without a token."""
    client = Chosen.client()
    if client.call("GET", "channels", name)["viewers"] == "off":
        raise ConflictError(f"nobody may watch {name}; first: relay channel viewers {name} signed")
    link = client.call("POST", "channels", name, "link", body={"hours": hours})
    if as_json:
        print(json.dumps(link, indent=2))
        return
    for label, key in (("watch", "watch_url"), ("in a player", "playback_url"), ("works until", "expires_at")):
        out.print(f"{label:>12}  {link[key]}", highlight=False, soft_wrap=True)


@channel_app.command("rotate-key")
def channel_rotate_key(name: str, as_json: Json = False) -> None:
    """Give a channel a new stream key; the old one stops working at once."""
    show_channel(Chosen.client().call("POST", "channels", name, "rotate-key"), as_json)


# --- showing ---------------------------------------------------------------------------------------------------------


def _track(track: dict[str, Any]) -> str:
    if track["kind"] == "video":
        return f"{track['codec']} {track['width']}x{track['height']}"
    return f"{track['codec']} {track['sample_rate']} Hz"


def show_channel(channel: dict[str, Any], as_json: bool) -> None:
    """A channel's keys, its link while it is live, and its destinations."""
    if as_json:
        print(json.dumps(channel, indent=2))
        return
    missing = " (expected to be live)" if channel["expected"] and channel["state"] != "live" else ""
    out.print(f"{'channel':>12}  {channel['name']}", highlight=False)
    out.print(f"{'state':>12}  {channel['state']}{missing}", highlight=False)
    for label, key in (
        ("publish to", "publish_url"),
        ("stream key", "stream_key"),
        ("or by HLS", "hls_publish_url"),
        ("play from", "play_url"),
        ("read key", "read_key"),
        ("recording", "recording"),
    ):
        out.print(f"{label:>12}  {channel[key] or '-'}", highlight=False, soft_wrap=True)
    kept = channel["archive"]
    limits = [f"{kept['keep_days']:g} days"] if kept["keep_days"] else []
    limits += [f"{kept['keep_gb']:g} GB"] if kept["keep_gb"] else []
    words = f"kept for {' or '.join(limits)}" if limits else "kept for ever"
    paused = "; PAUSED: the disk is nearly full" if channel["recording_paused"] else ""
    out.print(f"{'archive':>12}  {words}, priority {kept['priority']}{paused}", highlight=False)
    query = f"?key={channel['read_key']}" if channel["viewers"] == "signed" else ""
    words = {"off": "nobody", "signed": "with a link or the read key", "public": "everybody"}[channel["viewers"]]
    out.print(f"{'viewers':>12}  {channel['viewers']}: {words}", highlight=False)
    out.print(f"{'watch':>12}  {channel['watch_url']}{query}", highlight=False, soft_wrap=True)
    out.print(f"{'playback':>12}  {channel['playback_url']}{query}", highlight=False, soft_wrap=True)
    if channel["source"]:
        _show_source(channel["source"])
    _show_link(channel)
    if channel["destinations"]:
        show_destinations(channel["destinations"])


def _show_source(source: dict[str, Any]) -> None:
    """Where the channel pulls from, and how that goes."""
    words = f"{source['url']}: {source['state']}"
    if source["last_error"]:
        words += f" ({source['last_error']})"
    out.print(f"{'source':>12}  {plain(words)}", highlight=False, soft_wrap=True)


def _show_link(channel: dict[str, Any]) -> None:
    """How the publisher's link is, and what does not suit, while there is a stream."""
    if channel["state"] == "offline":
        return
    rows = [("health", channel["health"]["words"])]
    if channel["held_s"] or channel["takeovers"]:
        many = "" if channel["takeovers"] == 1 else "s"
        rows.append(("hold", f"{channel['held_s']:.0f} s in all, {channel['takeovers']} takeover{many}"))
    if channel["is_contested"]:
        rows.append(("contest", "two encoders keep taking this key from each other: stop one of them"))
    rows += [("lint", f"{item['destination'] or 'publisher'}: {item['words']}") for item in channel["lint"]]
    for label, words in rows:
        out.print(f"{label:>12}  {plain(words)}", highlight=False, soft_wrap=True)
