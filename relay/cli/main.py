"""The program: options, serve, apply, doctor; every error of ours is one line that says what to do."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from relay.cli.channels import channel_app
from relay.cli.destinations import destination_app
from relay.cli.evidence import catalog_app, evidence_key, verify_command
from relay.cli.recordings import recording_app
from relay.cli.secrets import audit_command, secret_app, token_app
from relay.cli.shared import Chosen, ConfigFile, Json, add, out, plain
from relay.cli.shares import channel_share, channel_shares, channel_unshare
from relay.cli.slates import slate_app
from relay.cli.users import user_app
from relay.cli.webhooks import webhook_app
from relay.config import load_settings
from relay.errors import InvalidError, RelayError
from relay.redaction import known

app = typer.Typer(
    help="Field Relay: one stream in, many platforms out, an archive that loses nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
channel_app.command("share")(channel_share)
channel_app.command("shares")(channel_shares)
channel_app.command("unshare")(channel_unshare)
app.add_typer(channel_app, name="channel")
app.add_typer(destination_app, name="destination")
app.add_typer(slate_app, name="slate")
app.add_typer(webhook_app, name="webhook")
app.add_typer(recording_app, name="recording")
app.add_typer(catalog_app, name="catalog")
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")
app.add_typer(secret_app, name="secret")
app.command("audit")(audit_command)
app.command("verify")(verify_command)
app.command("evidence-key")(evidence_key)


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
    except OSError as error:
        raise InvalidError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidError(f"{file} is no TOML file: {error}; deploy/ shows how one looks") from error
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
            add(table, "ok" if item.ok else "no", item.check, item.finding)
        out.print(table)
    if not all(item.ok for item in findings):
        raise typer.Exit(1)


def main() -> None:
    """The entry point: every error of ours is one line that says what to do."""
    try:
        app()
    except RelayError as error:
        print(f"relay: {plain(known.censor(str(error)))}", file=sys.stderr)
        raise SystemExit(1) from None
