"""Commands for what keeps secrets, and for who did what: the admin token, the encryption key, the audit log."""

import json
from typing import Annotated

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out

token_app = typer.Typer(help="The admin token.", no_args_is_help=True)
secret_app = typer.Typer(help="The key that stored secrets are encrypted with.", no_args_is_help=True)


@token_app.command("rotate")
def token_rotate(
    show: Annotated[bool, typer.Option(help="Show the new token, also where its file is at hand.")] = False,
    as_json: Json = False,
) -> None:
    """Make a new admin token. The old one, and the sessions begun with it, end at once."""
    made = Chosen.client().call("POST", "token", "rotate")
    if as_json:
        print(json.dumps(made, indent=2))
        return
    out.print(f"the admin token is new; it is in {made['file']} on the relay's machine", highlight=False)
    if show or Chosen.server:
        out.print(f"{'token':>12}  {made['token']}", highlight=False, soft_wrap=True)
    out.print("give it to what used the old one: scripts, Prometheus, RELAY_TOKEN", highlight=False)


@secret_app.command("rotate")
def secret_rotate() -> None:
    """Encrypt everything stored with a new key. Links to watch and to recordings given out so far end."""
    answer = Chosen.client().call("POST", "secret-key", "rotate")
    out.print(f"{answer['secrets']} secrets are encrypted with a new key; back up secret.key", highlight=False)


def audit_command(
    last: Annotated[int, typer.Option(help="How many entries, the newest first.")] = 50, as_json: Json = False
) -> None:
    """Who changed what, from where, and who signed in or was refused."""
    answer = Chosen.client().call("GET", "audit", last=str(last))
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    table = Table("when", "who", "from", "what", box=None)
    for entry in answer["entries"]:
        about = ", ".join(f"{name} {value}" for name, value in entry["about"].items())
        where = " ".join(word for word in (entry["address"], entry["via"]) if word)
        add(table, entry["at"][:19].replace("T", " "), entry["who"], where, f"{entry['action']}  {about}".rstrip())
    out.print(table if answer["entries"] else "nothing has been changed yet")
