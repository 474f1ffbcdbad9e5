"""Commands for channels and their destinations."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out, secret

channel_app = typer.Typer(help="Channels and their stream keys.", no_args_is_help=True)
destination_app = typer.Typer(help="Where a channel is restreamed to.", no_args_is_help=True)


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
    _show_channel(Chosen.client().call("POST", "channels", body=body), as_json)


@channel_app.command("list")
def channel_list(as_json: Json = False) -> None:
    """Every channel at a glance."""
    answer = Chosen.client().call("GET", "channels")
    if as_json:
        print(json.dumps(answer, indent=2))
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
    _show_channel(Chosen.client().call("GET", "channels", name), as_json)


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
    _show_channel(client.call("PATCH", "channels", name, body={"archive": options}), as_json)


@channel_app.command("rotate-key")
def channel_rotate_key(name: str, as_json: Json = False) -> None:
    """Give a channel a new stream key; the old one stops working at once."""
    _show_channel(Chosen.client().call("POST", "channels", name, "rotate-key"), as_json)


# --- destinations ----------------------------------------------------------------------------------------------------


@destination_app.command("add")
def destination_add(
    channel: str,
    name: str,
    url: Annotated[str, typer.Option(help="rtmp:// or rtmps:// address; empty: the platform's.")] = "",
    key: Annotated[str, typer.Option(help="The platform's stream key; - reads it from standard input.")] = "",
    platform: Annotated[str, typer.Option(help="youtube, facebook, twitch, x, kick, instagram, …, custom")] = "custom",
    as_json: Json = False,
) -> None:
    """Restream CHANNEL to a place called NAME, at once if it is live."""
    body = {"name": name, "url": url, "key": secret(key), "platform": platform}
    _show_destination(Chosen.client().call("POST", "channels", channel, "destinations", body=body), as_json)


@destination_app.command("list")
def destination_list(channel: str, as_json: Json = False) -> None:
    """The destinations of CHANNEL and how they are doing."""
    answer = Chosen.client().call("GET", "channels", channel, "destinations")
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        _show_destinations(answer["destinations"])


@destination_app.command("remove")
def destination_remove(channel: str, name: str) -> None:
    """Stop restreaming CHANNEL to NAME and forget it."""
    Chosen.client().call("DELETE", "channels", channel, "destinations", name)
    out.print(f"destination {name} removed from {channel}", highlight=False)


@destination_app.command("enable")
def destination_enable(channel: str, name: str) -> None:
    """Restream to NAME again."""
    _enable(channel, name, True)


@destination_app.command("disable")
def destination_disable(channel: str, name: str) -> None:
    """Stop restreaming to NAME, but remember it."""
    _enable(channel, name, False)


# --- showing ---------------------------------------------------------------------------------------------------------


def _track(track: dict[str, Any]) -> str:
    if track["kind"] == "video":
        return f"{track['codec']} {track['width']}x{track['height']}"
    return f"{track['codec']} {track['sample_rate']} Hz"


def _show_channel(channel: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(channel, indent=2))
        return
    for label, key in (
        ("channel", "name"),
        ("state", "state"),
        ("publish to", "publish_url"),
        ("stream key", "stream_key"),
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
    playback = f"{channel['playback_url']}?key={channel['read_key']}"
    out.print(f"{'playback':>12}  {playback}", highlight=False, soft_wrap=True)
    if channel["destinations"]:
        _show_destinations(channel["destinations"])


def _enable(channel: str, name: str, enabled: bool) -> None:
    change = {"enabled": enabled}
    _show_destination(Chosen.client().call("PATCH", "channels", channel, "destinations", name, body=change), False)


def _show_destination(destination: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(destination, indent=2))
    else:
        _show_destinations([destination])


def _show_destinations(destinations: list[dict[str, Any]]) -> None:
    table = Table("destination", "platform", "state", "sent", "dropped", "last error", box=None)
    for item in destinations:
        add(
            table,
            item["name"],
            item["platform"],
            item["state"],
            f"{item['bytes_sent'] / 1e6:.1f} MB",
            str(item["dropped_packets"]),
            item["last_error"],
        )
    out.print(table)
