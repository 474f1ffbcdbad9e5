"""What every command uses: the options given before it, and how things are shown on a terminal."""

import sys
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from relay.client import Client
from relay.config import Settings, load_settings

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
        return Client(cls.settings(), cls.server, cls.token)

    @classmethod
    def settings(cls) -> Settings:
        return load_settings(cls.config)


def secret(text: str) -> str:
    """``-`` means standard input, so that keys stay out of the shell's history and off the screen."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        return getpass("Key (it is not shown): ").strip()
    return sys.stdin.readline().strip()


def add(table: Table, *cells: str) -> None:
    table.add_row(*(plain(cell) for cell in cells))


def say_errors(items: Iterable[tuple[str, str]]) -> None:
    """What went wrong last with each of ``(name, error)``, a line each: columns of a table are too narrow for it."""
    for name, error in items:
        if error:
            out.print(f"  {name}: {plain(error)}", highlight=False, soft_wrap=True)


def plain(text: str) -> str:
    """What strangers answered, unable to drive the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
