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
