"""Commands for slates: the pictures and clips that holds show."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out
from relay.client import Client
from relay.egress import SLATE_BYTES
from relay.errors import InvalidError

slate_app = typer.Typer(help="Pictures and clips to be shown while a publisher is away.", no_args_is_help=True)


def upload(client: Client, path: Path) -> dict[str, Any]:
    """Send a file that is here to the relay, which tries it. Raises RelayError."""
    try:
        with path.open("rb") as file:
            content = file.read(SLATE_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"slate {path} cannot be read: {error.strerror}") from error
    if len(content) > SLATE_BYTES:
        raise InvalidError(f"slate {path} is larger than {SLATE_BYTES // 1024**2} MiB; give a smaller one")
    kept: dict[str, Any] = client.call("PUT", "slates", path.name, content=content)
    return kept


def chosen(client: Client, name: str) -> str:
    """The slate that ``name`` means: a file that is here, which is uploaded, or one that the relay has.

    Raises RelayError.
    """
    path = Path(name)
    if not name or path.exists():
        return str(upload(client, path)["name"]) if name else ""
    if "/" in name or name not in (slate["name"] for slate in client.call("GET", "slates")["slates"]):
        raise InvalidError(
            f"there is no file {name} here, and the relay has no slate {name}; `relay slate list` says more"
        )
    return name


@slate_app.command("add")
def slate_add(file: Path, as_json: Json = False) -> None:
    """Upload a PNG, JPEG or MP4 FILE; `relay destination set … --slate NAME` shows it."""
    kept = upload(Chosen.client(), file)
    out.print(json.dumps(kept, indent=2) if as_json else f"slate {kept['name']} is kept", highlight=False)


@slate_app.command("list")
def slate_list(as_json: Json = False) -> None:
    """The slates there are, and who shows them."""
    answer = Chosen.client().call("GET", "slates")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    if not answer["slates"]:
        out.print("no slates; add one with `relay slate add FILE`", highlight=False)
        return
    table = Table("slate", "size", "shown by", box=None)
    for slate in answer["slates"]:
        add(table, slate["name"], f"{slate['size'] / 1e6:.1f} MB", ", ".join(slate["used_by"]) or "nobody")
    out.print(table)


@slate_app.command("remove")
def slate_remove(name: str) -> None:
    """Remove a slate that no destination shows."""
    Chosen.client().call("DELETE", "slates", name)
    out.print(f"slate {name} removed", highlight=False)
