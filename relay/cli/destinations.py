"""Commands for destinations: where a channel is restreamed to, and how."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out, say_errors, secret
from relay.cli.slates import chosen
from relay.errors import InvalidError

destination_app = typer.Typer(help="Where a channel is restreamed to.", no_args_is_help=True)


@destination_app.command("add")
def destination_add(
    channel: str,
    name: str,
    url: Annotated[str, typer.Option(help="rtmp(s):// address, or http(s):// for HLS; empty: the platform's.")] = "",
    key: Annotated[str, typer.Option(help="The platform's stream key; - reads it from standard input.")] = "",
    platform: Annotated[
        str, typer.Option(help="youtube, youtube-hls, facebook, twitch, x, kick, instagram, …, custom")
    ] = "custom",
    method: Annotated[str, typer.Option(help="HLS: PUT or POST.")] = "",
    backup: Annotated[str, typer.Option(help="HLS: also to the platform's backup (on), or to this URL.")] = "",
    as_json: Json = False,
) -> None:
    """Restream CHANNEL to a place called NAME, at once if it is live."""
    body = {"name": name, "url": url, "key": secret(key), "platform": platform, **_upload(method, backup)}
    _show_destination(Chosen.client().call("POST", "channels", channel, "destinations", body=body), as_json)


@destination_app.command("list")
def destination_list(channel: str, as_json: Json = False) -> None:
    """The destinations of CHANNEL and how they are doing."""
    answer = Chosen.client().call("GET", "channels", channel, "destinations")
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        show_destinations(answer["destinations"])


@destination_app.command("set")
def destination_set(
    channel: str,
    name: str,
    hold: Annotated[str, typer.Option(help="While the publisher is away: freeze, slate or off.")] = "",
    hold_limit: Annotated[float | None, typer.Option(help="End politely after this many seconds of that.")] = None,
    slate: Annotated[str, typer.Option(help="A PNG, JPEG or MP4 file to be shown meanwhile.")] = "",
    ensure_audio: Annotated[str, typer.Option(help="Silence where there is no sound: auto, on or off.")] = "",
    on_change: Annotated[
        str, typer.Option(help="When codec or picture size change: auto, send, reconnect or transcode.")
    ] = "",
    fit_height: Annotated[int | None, typer.Option(help="Transcode to at most this many lines.")] = None,
    fit_fps: Annotated[float | None, typer.Option(help="Transcode to this frame rate.")] = None,
    fit_video_kbps: Annotated[int | None, typer.Option(help="Transcode to this video bitrate.")] = None,
    fit_audio_kbps: Annotated[int | None, typer.Option(help="Transcode to this audio bitrate.")] = None,
    fit_keyframe_s: Annotated[float | None, typer.Option(help="Transcode to a keyframe every so many seconds.")] = None,
    no_fit: Annotated[bool, typer.Option("--no-fit", help="No transcoding any more.")] = False,
    method: Annotated[str, typer.Option(help="HLS: upload by PUT or POST.")] = "",
    backup: Annotated[str, typer.Option(help="HLS: the platform's backup, too (on), another URL, or off.")] = "",
    as_json: Json = False,
) -> None:
    """How NAME is served: what is held, fitted and ensured. What is not given stays as it is."""
    if no_fit and any(
        value is not None for value in (fit_height, fit_fps, fit_video_kbps, fit_audio_kbps, fit_keyframe_s)
    ):
        raise InvalidError("--no-fit and a fit exclude each other; give one of them")
    client = Chosen.client()
    before = client.call("GET", "channels", channel, "destinations", name)
    change: dict[str, Any] = _upload(method, backup)
    held = {"mode": hold or ("slate" if slate else ""), "limit_s": hold_limit, "slate": chosen(client, slate)}
    if given := {key: value for key, value in held.items() if value not in ("", None)}:
        change["hold"] = {**before["hold"], **given}
    for key, value in (("ensure_audio", ensure_audio), ("on_change", on_change)):
        if value:
            change[key] = value
    fit = {
        "height": fit_height,
        "fps": fit_fps,
        "video_kbps": fit_video_kbps,
        "audio_kbps": fit_audio_kbps,
        "keyframe_s": fit_keyframe_s,
    }
    if no_fit:
        change["fit"] = None
    elif wanted := {key: value for key, value in fit.items() if value is not None}:
        change["fit"] = {**(before["fit"] or {}), **wanted}
    if not change:
        raise InvalidError("nothing to set; `relay destination set --help` lists what can be")
    _show_destination(client.call("PATCH", "channels", channel, "destinations", name, body=change), as_json)


def _upload(method: str, backup: str) -> dict[str, Any]:
    """The options of an HLS destination that are given."""
    options: dict[str, Any] = {"method": method.upper()} if method else {}
    if backup:
        options["backup"] = {"on": True, "off": False}.get(backup, backup)
    return options


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


def _enable(channel: str, name: str, enabled: bool) -> None:
    change = {"enabled": enabled}
    _show_destination(Chosen.client().call("PATCH", "channels", channel, "destinations", name, body=change), False)


def _show_destination(destination: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(destination, indent=2))
    else:
        show_destinations([destination])


def show_destinations(destinations: list[dict[str, Any]]) -> None:
    """A table of destinations, how each is served, and how they are doing."""
    if not destinations:
        out.print("no destinations yet; `relay destination add --help` tells how")
        return
    table = Table("destination", "platform", "state", "sent", "dropped", "served", box=None)
    for item in destinations:
        add(
            table,
            item["name"],
            item["platform"],
            item["state"],
            f"{item['bytes_sent'] / 1e6:.1f} MB",
            str(item["dropped_packets"]),
            _served(item),
        )
    out.print(table)
    say_errors((item["name"], item["last_error"]) for item in destinations)


def _served(item: dict[str, Any]) -> str:
    """What is held, fitted and ensured, in few words; what is as usual is left out."""
    hold, fit = item["hold"], item["fit"] or {}
    words = [f"hold {hold['slate'] if hold['mode'] == 'slate' else hold['mode']}"]
    if hold["limit_s"] is not None and hold["mode"] != "off":
        words[0] += f" {hold['limit_s']:g} s"
    sizes = (
        ("height", "{:g} lines"),
        ("fps", "{:g} fps"),
        ("video_kbps", "{:g} kbit/s"),
        ("audio_kbps", "sound {:g} kbit/s"),
        ("keyframe_s", "keyframe {:g} s"),
    )
    if wanted := [form.format(fit[name]) for name, form in sizes if fit.get(name)]:
        words.append(f"fit {' '.join(wanted)}")
    if item["ensure_audio"] != "auto":
        words.append(f"silence {item['ensure_audio']}")
    if item["on_change"] != "auto":
        words.append(f"on change {item['on_change']}")
    if item["method"] != "PUT":
        words.append(item["method"])
    if item["backup"]:
        words.append("with backup")
    return ", ".join(words)
