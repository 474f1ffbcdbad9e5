"""Commands for webhooks: where the relay tells what happens."""

import json
from typing import Annotated

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out, plain, say_errors, secret

webhook_app = typer.Typer(help="Where the relay tells what happens.", no_args_is_help=True)


@webhook_app.command("add")
def webhook_add(
    url: Annotated[str, typer.Argument(help="http(s) address; - reads it from standard input.")],
    channel: Annotated[str, typer.Option(help="Only what happens on this channel.")] = "",
    event: Annotated[list[str] | None, typer.Option(help="Only this event; may be given again.")] = None,
    key: Annotated[str, typer.Option("--secret", help="To sign with; - reads it; made when left out.")] = "",
    as_json: Json = False,
) -> None:
    """Tell events to URL, signed; the secret is shown this once."""
    body: dict[str, object] = {"url": secret(url), "events": event or []}
    if channel:
        body["channel"] = channel
    if key:
        body["secret"] = secret(key)
    made = Chosen.client().call("POST", "webhooks", body=body)
    if as_json:
        print(json.dumps(made, indent=2))
        return
    for label, name in (("id", "id"), ("address", "address"), ("channel", "channel"), ("secret", "secret")):
        out.print(f"{label:>12}  {made[name] or 'all'}", highlight=False, soft_wrap=True)
    out.print(f"{'events':>12}  {', '.join(made['events']) or 'all'}", highlight=False, soft_wrap=True)


@webhook_app.command("list")
def webhook_list(as_json: Json = False) -> None:
    """Every webhook and how it is doing."""
    answer = Chosen.client().call("GET", "webhooks")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    if not answer["webhooks"]:
        out.print("no webhooks; add one with `relay webhook add URL`", highlight=False)
        return
    table = Table("id", "address", "channel", "events", "delivered", "waiting", "dropped", box=None)
    for hook in answer["webhooks"]:
        cells = [hook["id"], hook["address"], hook["channel"] or "all", ", ".join(hook["events"]) or "all"]
        add(table, *cells, *(str(hook[name]) for name in ("delivered", "waiting", "dropped")))
    out.print(table)
    say_errors((hook["id"], hook["last_error"]) for hook in answer["webhooks"])


@webhook_app.command("remove")
def webhook_remove(webhook: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Remove a webhook; what waits for it is not told."""
    Chosen.client().call("DELETE", "webhooks", webhook)
    out.print(f"webhook {webhook} removed", highlight=False)


@webhook_app.command("test")
def webhook_test(webhook: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Send a ping now and say what became of it."""
    told = Chosen.client().call("POST", "webhooks", webhook, "test")
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        out.print(plain(told["words"]), highlight=False, soft_wrap=True)
    if not told["delivered"]:
        raise typer.Exit(1)
