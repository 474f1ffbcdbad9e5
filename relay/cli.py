"""The relay command: runs the server, and talks to a running one over its API."""

import json
import sys
import tomllib
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relay.client import Client
from relay.config import load_settings
from relay.errors import InvalidError, RelayError

app = typer.Typer(
    help="Field Relay: one stream in, many platforms out, an archive that loses nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
channel_app = typer.Typer(help="Channels and their stream keys.", no_args_is_help=True)
destination_app = typer.Typer(help="Where a channel is restreamed to.", no_args_is_help=True)
recording_app = typer.Typer(help="What has been recorded.", no_args_is_help=True)
app.add_typer(channel_app, name="channel")
app.add_typer(destination_app, name="destination")
app.add_typer(recording_app, name="recording")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="Settings file (TOML).")]
out = Console(markup=False)


class Chosen:
    """The options given before the command."""

    config: Path | None = None
    server = ""
    token = ""

    @classmethod
    def client(cls) -> Client:
        return Client(load_settings(cls.config), cls.server, cls.token)


@app.callback()
def main_options(
    config: ConfigFile = None,
    server: Annotated[str, typer.Option(envvar="RELAY_SERVER", help="URL of the running relay.")] = "",
    token: Annotated[
        str, typer.Option(envvar="RELAY_TOKEN", help="Admin token; else read from the data directory.")
    ] = "",
) -> None:
    Chosen.config, Chosen.server, Chosen.token = config, server, token


@app.command()
def serve(
    config: ConfigFile = None,
    show_keys: Annotated[bool, typer.Option(help="Show stream keys in the first lines.")] = False,
) -> None:
    """Run the relay until Ctrl-C or SIGTERM."""
    from relay.app import run  # the other commands start quicker without the server

    run(load_settings(config or Chosen.config), lambda text: print(text, flush=True), show_keys=show_keys)


@app.command()
def apply(file: Path, prune: Annotated[bool, typer.Option(help="Delete channels not in the file.")] = False) -> None:
    """Make channels and destinations as a TOML FILE says."""
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidError(f"{file}: {error}") from error
    answer = Chosen.client().call("POST", "apply", body={"prune": prune, **document})
    for change in answer["changes"]:
        out.print(change, highlight=False)
    if not answer["changes"]:
        out.print("nothing to change")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check ports, disk, ffmpeg, the object store and the clock."""
    from relay.doctor import examine

    findings = examine(load_settings(Chosen.config))
    if as_json:
        print(
            json.dumps([{"check": item.check, "ok": item.ok, "finding": item.finding} for item in findings], indent=2)
        )
    else:
        table = Table("", "check", "finding", box=None)
        for item in findings:
            _add(table, "ok" if item.ok else "no", item.check, item.finding)
        out.print(table)
    if not all(item.ok for item in findings):
        raise typer.Exit(1)


# --- channels --------------------------------------------------------------------------------------------------------


@channel_app.command("add")
def channel_add(
    name: str,
    key: Annotated[str, typer.Option(help="Stream key of your own; - reads it from standard input.")] = "",
    as_json: Json = False,
) -> None:
    """Create a channel and show how to publish to it."""
    body: dict[str, Any] = {"name": name}
    if key:
        body["stream_key"] = _secret(key)
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
        _add(
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
    body = {"name": name, "url": url, "key": _secret(key), "platform": platform}
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


# --- recordings ------------------------------------------------------------------------------------------------------


@recording_app.command("list")
def recording_list(
    channel: Annotated[str, typer.Option(help="Only this channel's.")] = "", as_json: Json = False
) -> None:
    """Recordings, newest first."""
    answer = Chosen.client().call("GET", "recordings", channel=channel)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    table = Table("recording", "channel", "state", "started", "length", "missing", "in the store", box=None)
    table.columns[0].no_wrap = True  # to be copied whole, however narrow the terminal
    table.columns[0].min_width = 23
    for item in answer["recordings"]:
        _add(
            table,
            item["id"],
            item["channel"],
            item["state"],
            item["started_at"][:19],
            f"{item['duration_s']:.1f} s",
            f"{item['gap_s']:.1f} s",
            f"{item['segments_stored']} of {item['segments']}",
        )
    out.print(table)


@recording_app.command("show")
def recording_show(recording: str, as_json: Json = False) -> None:
    """One recording."""
    answer = Chosen.client().call("GET", "recordings", recording)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for name, value in answer.items():
        out.print(f"{name:>16}  {value}", highlight=False)


# --- showing ---------------------------------------------------------------------------------------------------------


def _secret(text: str) -> str:
    """``-`` means standard input, so that keys stay out of the shell's history and off the screen."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        return getpass("Key (it is not shown): ").strip()
    return sys.stdin.readline().strip()


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(_plain(cell) for cell in cells))


def _plain(text: str) -> str:
    """What strangers answered, unable to drive the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


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
        _add(
            table,
            item["name"],
            item["platform"],
            item["state"],
            f"{item['bytes_sent'] / 1e6:.1f} MB",
            str(item["dropped_packets"]),
            item["last_error"],
        )
    out.print(table)


def main() -> None:
    """The entry point: every error of ours is one line that says what to do."""
    try:
        app()
    except RelayError as error:
        print(f"relay: {_plain(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None
