"""Commands for users: who else may sign in to the console."""

import json
import sys
from enum import StrEnum
from getpass import getpass
from typing import Annotated

import typer
from rich.table import Table

from relay.cli.shared import Chosen, Json, add, out
from relay.errors import InvalidError

user_app = typer.Typer(help="Who may sign in to the console besides the admin token.", no_args_is_help=True)


class UserRole(StrEnum):
    """What a user may do."""

    OPERATOR = "operator"
    VIEWER = "viewer"


Password = Annotated[str, typer.Option(help="- reads it from standard input; left out, it is asked for.")]


@user_app.command("list")
def user_list(as_json: Json = False) -> None:
    """Every user and what each may do."""
    answer = Chosen.client().call("GET", "users")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    table = Table("user", "role", box=None)
    for user in answer["users"]:
        add(table, user["name"], user["role"])
    out.print(table if answer["users"] else "no users: the console is opened by the admin token alone")


@user_app.command("add")
def user_add(
    name: str,
    role: Annotated[UserRole, typer.Option(help="operator: runs everything; viewer: looks, and sees no keys.")],
    password: Password = "",
) -> None:
    """Add a user who signs in with a name and a password."""
    body = {"name": name, "role": role.value, "password": _password(password)}
    Chosen.client().call("POST", "users", body=body)
    out.print(f"{name} may sign in as {role.value}", highlight=False)


@user_app.command("passwd")
def user_passwd(name: str, password: Password = "") -> None:
    """Give a user a new password; whoever is signed in with the old one is signed out."""
    Chosen.client().call("PATCH", "users", name, body={"password": _password(password)})
    out.print(f"{name} has a new password", highlight=False)


@user_app.command("role")
def user_role(name: str, role: UserRole) -> None:
    """Let a user do more, or less."""
    Chosen.client().call("PATCH", "users", name, body={"role": role.value})
    out.print(f"{name} is {role.value} now", highlight=False)


@user_app.command("remove")
def user_remove(name: str) -> None:
    """Remove a user and end its sessions."""
    Chosen.client().call("DELETE", "users", name)
    out.print(f"{name} may not sign in any more", highlight=False)


def _password(given: str) -> str:
    """From standard input or the keyboard: never from the command line, which others on the machine can read."""
    if given not in ("", "-"):
        raise InvalidError("a password is not given on the command line; leave it out, or write --password -")
    if given == "-" or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass("Password (it is not shown): ")
    if getpass("Once more: ") != password:
        raise InvalidError("the two were not the same; nothing was changed")
    return password
