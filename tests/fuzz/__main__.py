"""Fuzzing as a program: ``python -m tests.fuzz [TARGET …] [--seconds N]`` prints what was tried and found."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz import TARGETS
from tests.fuzz.engine import Found, fuzz

SECONDS = 600
FINDINGS = Path("data") / "fuzz"  # beside what a relay of this checkout stores: not under version control


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description="Strangers' bytes, by the million, to each parser."
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all when left out")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target (%(default)s)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.targets if name not in TARGETS]
    if unknown:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}")
    console = Console()
    found: list[Found] = []
    for name in chosen.targets or TARGETS:
        console.print(f"fuzz: {name}, {chosen.seconds} s …", highlight=False)
        found.append(fuzz(name, chosen.seconds, FINDINGS / name))
        if found[-1].inputs:
            console.print(found[-1].output[-6000:], markup=False, highlight=False)
    table = Table("target", "inputs tried", "a second", "edges", "MiB", "deaths", "broken by", box=None)
    for item in found:
        broken = ", ".join(str(path) for path in item.inputs) or "nothing"
        table.add_row(
            item.target,
            f"{item.runs:,}",
            f"{item.per_s:,}",
            str(item.edges),
            str(item.rss_mb),
            str(item.deaths),
            broken,
        )
    console.print(table, highlight=False)
    return 1 if any(item.inputs or not item.runs for item in found) else 0


if __name__ == "__main__":
    sys.exit(main())
