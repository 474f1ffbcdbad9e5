"""Commands for what has been recorded."""

import json
from typing import Annotated

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out

recording_app = typer.Typer(help="What has been recorded.", no_args_is_help=True)


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
        add(
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


@recording_app.command("gaps")
def recording_gaps(recording: str, as_json: Json = False) -> None:
    """What is missing from a recording, where, and why."""
    answer = Chosen.client().call("GET", "recordings", recording, "gaps")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    table = Table("at", "time", "missing", "reason", box=None)
    for gap in answer["gaps"]:
        add(table, f"{gap['start_s']:.1f} s", gap["started_at"], f"{gap['length_s']:.1f} s", gap["reason"])
    out.print(table if answer["gaps"] else "nothing is missing")


@recording_app.command("link")
def recording_link(recording: str, as_json: Json = False) -> None:
    """Links to a recording that open without a token, for some hours."""
    answer = Chosen.client().call("POST", "recordings", recording, "link")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for label, key in (("play", "playlist_url"), ("download", "export_url"), ("until", "expires_at")):
        out.print(f"{label:>10}  {answer[key]}", highlight=False, soft_wrap=True)


@recording_app.command("delete")
def recording_delete(recording: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a recording from the relay and from the object store, for good."""
    if not yes and not typer.confirm(f"Delete {recording} for good?"):
        raise typer.Exit(1)
    Chosen.client().call("DELETE", "recordings", recording)
    out.print(f"recording {recording} is being deleted", highlight=False)
