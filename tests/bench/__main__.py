"""The measurements as a program: ``python -m tests.bench [--json FILE] [MEASURE …]`` prints a table."""

import argparse
import asyncio
import json
import tempfile
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import MEASURES
from tests.support.process import Processes


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What a relay costs, in processor time.")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="fewer cases and shorter ones: relay in under 3 minutes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.measures if name not in MEASURES]
    if unknown:
        parser.error(f"there is no measure {unknown[0]}; there are {', '.join(MEASURES)}")
    table = Table("measure", "what", "found", "aim", box=None)
    rows: list[tuple[str, str, str, str]] = []
    console = Console()
    for name in chosen.measures or MEASURES:
        console.print(f"bench: {name} …", highlight=False)
        with tempfile.TemporaryDirectory(prefix="fieldrelay-bench-") as folder:
            processes = Processes(Path(folder))
            try:
                found = asyncio.run(
                    import_module(f"tests.bench.{name}").run(processes, Path(folder), quick=chosen.quick)
                )
            finally:
                processes.close()
        rows += [(name, *row) for row in found]
    for row in rows:
        table.add_row(*row)
    console.print(table, highlight=False)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
