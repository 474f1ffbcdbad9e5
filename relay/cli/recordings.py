"""Commands for what has been recorded."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out
from relay.errors import ConflictError, InvalidError

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
    if not answer["recordings"]:
        out.print(f"nothing recorded{f' on {channel}' if channel else ''} yet", highlight=False)
        return
    columns = ("recording", "channel", "state", "started", "length", "missing", "stored")
    table = Table(*columns, box=None, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True  # to be copied whole, however narrow the terminal
    table.columns[0].min_width = 23
    table.columns[2].min_width = 9  # "recording"
    table.columns[3].min_width = 10  # a date; the time may stand below it
    for item in answer["recordings"]:
        add(
            table,
            item["id"],
            item["channel"],
            item["state"],
            item["started_at"][:19].replace("T", " "),
            f"{item['duration_s']:.1f} s",
            f"{item['gap_s']:.1f} s",
            f"{item['segments_stored']}/{item['segments']}",
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


@recording_app.command("export")
def recording_export(
    recording: str,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File or folder; else RECORDING.mp4 in this one.")
    ] = None,
    start: Annotated[str, typer.Option("--from", help="Seconds, HH:MM:SS, or a date and time (UTC).")] = "",
    end: Annotated[str, typer.Option("--to", help="Likewise, where to end.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Save a recording, or a piece of it, as one MP4 file. It begins on the keyframe at or before --from."""
    target = output or Path()
    if target.is_dir():
        target /= f"{Path(recording).name}.mp4"
    if target.exists() and not force:
        raise ConflictError(f"{target} is there already; name another file with -o, or replace it with --force")
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("xb") as file, _progress() as progress:
            task = progress.add_task("export", total=None)
            length_s = Chosen.client().download(
                "recordings",
                recording,
                "export.mp4",
                query={"from": start, "to": end},
                file=file,
                told=lambda so_far, size: progress.update(task, completed=so_far, total=size),
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise InvalidError(f"cannot write {target}: {error.strerror}; name another file with -o") from None
    finally:
        partial.unlink(missing_ok=True)
    size = target.stat().st_size
    if as_json:
        print(json.dumps({"file": str(target), "duration_s": float(length_s), "bytes": size}, indent=2))
        return
    out.print(f"{target}: {float(length_s):.1f} s, {size / 1e6:.1f} MB", highlight=False, soft_wrap=True)


@recording_app.command("delete")
def recording_delete(recording: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a recording from the relay and from the object store, for good."""
    if not yes and not typer.confirm(f"Delete {recording} for good?"):
        raise typer.Exit(1)
    Chosen.client().call("DELETE", "recordings", recording)
    out.print(f"recording {recording} is being deleted", highlight=False)


def _progress() -> Progress:
    """A bar on the terminal, gone when it is over; nothing where there is none."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
