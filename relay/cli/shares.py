"""Commands for links that open a channel's page to whoever streams."""

import json
from typing import Annotated

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out


def channel_share(
    name: str,
    days: Annotated[float, typer.Option(help="How long the link opens the page.")] = 7.0,
    as_json: Json = False,
) -> None:
    """Make a link for whoever streams on channel NAME: how to set up the phone, and how it goes. It is shown once."""
    share = Chosen.client().call("POST", "channels", name, "shares", body={"days": days})
    if as_json:
        print(json.dumps(share, indent=2))
        return
    for label, key in (("link", "url"), ("id", "id"), ("expires", "expires_at")):
        out.print(f"{label:>12}  {share[key]}", highlight=False, soft_wrap=True)
    if share["hint"]:
        out.print(f"{'note':>12}  {share['hint']}", highlight=False, soft_wrap=True)


def channel_shares(name: str, as_json: Json = False) -> None:
    """The links that open the page of channel NAME."""
    answer = Chosen.client().call("GET", "channels", name, "shares")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    if not answer["shares"]:
        out.print(f"no links; make one with `relay channel share {name}`", highlight=False)
        return
    table = Table("id", "made", "expires", box=None)
    for share in answer["shares"]:
        add(table, share["id"], share["created_at"], share["expires_at"])
    out.print(table)


def channel_unshare(link: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a link back by its ID; pages opened by it close within seconds."""
    Chosen.client().call("DELETE", "shares", link)
    out.print(f"link {link} taken back", highlight=False)
