"""The fault runs as a program: ``python -m tests.chaos [--quick] [--json FILE] [FAULT …]`` prints a table."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos import FAULTS
from tests.chaos.bench import Bench, Figure
from tests.support.process import Processes


def main(room: str, kind: str, names: Sequence[str], description: str) -> int:
    """Run what the command line names of ``tests.ROOM``, and print its figures; 1 when one is missed."""
    parser = argparse.ArgumentParser(prog=f"scripts/{room}", description=description)
    parser.add_argument("names", nargs="*", metavar=kind.upper(), help=f"of {', '.join(names)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="the short form of each, as the tests run it")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in names]
    if unknown:
        parser.error(f"there is no {kind} {unknown[0]}; there are {', '.join(names)}")
    console = Console()
    figures: list[Figure] = []
    for name in chosen.names or names:
        started = time.monotonic()
        console.print(f"{room}: {name} …", highlight=False)
        with tempfile.TemporaryDirectory(prefix=f"fieldrelay-{room}-{name}-") as folder:
            processes = Processes(Path(folder))
            bench = Bench(name, processes, Path(folder), quick=chosen.quick, package=f"tests.{room}")
            try:
                asyncio.run(bench.run())
            except Exception as error:  # noqa: BLE001 - what was found until then is worth seeing
                traceback.print_exc()
                bench.figure("went on to its end", repr(error)[:300], "yes", False)
            finally:
                processes.close()
            figures += bench.figures
        console.print(f"{room}: {name} took {time.monotonic() - started:.0f} s", highlight=False)
    table = Table(kind, "what", "found", "must be", "", box=None)
    for item in figures:
        table.add_row(item.fault, item.what, item.found, item.must, "ok" if item.good else "MISSED")
    console.print(table, highlight=False)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(item) for item in figures], indent=2) + "\n", "utf-8")
    return 0 if all(item.good for item in figures) else 1


if __name__ == "__main__":
    sys.exit(main("chaos", "fault", FAULTS, "Harm to real relays, and its figures."))
