"""Fuzzing as a program: ``python -m tests.fuzz [--seconds N] [TARGET …]`` prints what was tried and found."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz import TARGETS
from tests.fuzz.engine import Found, fuzz
from tests.fuzz.relay import attack
from tests.protocol.rtmp.machines import MACHINES, run
from tests.support.process import Processes

SECONDS = 600
SEQUENCES = 10_000
CASES = 5_000
COVERED = 95.0
OTHERS = ("sequences", "api", "coverage")
FINDINGS = Path("data") / "fuzz"  # beside what a relay of this checkout stores: not under version control
PARSERS = (
    "relay/protocol/*",
    "relay/archive/spool.py",
    "relay/ingest/demux_worker.py",
    "relay/ingest/hls_fragments.py",
    "relay/ingest/hls_playlist.py",
)
THEIR_TESTS = (
    "tests/test_fuzz.py",
    "tests/protocol",
    "tests/archive/test_spool.py",
    "tests/ingest/test_demux_worker.py",
    "tests/ingest/test_hls_fragments.py",
    "tests/ingest/test_hls_playlist.py",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Strangers' bytes, commands and requests.")
    names = (*TARGETS, *OTHERS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)}; all when left out")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each parser (%(default)s)")
    parser.add_argument("--sequences", type=int, default=SEQUENCES, help="of commands, in all (%(default)s)")
    parser.add_argument("--cases", type=int, default=CASES, help="requests to the API (%(default)s)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.targets if name not in names]
    if unknown:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(names)}")
    console = Console()
    found: list[Found] = []
    good = True
    for name in chosen.targets or names:
        console.print(f"fuzz: {name} …", highlight=False)
        if name == "sequences":
            sequences(console, chosen.sequences)
        elif name == "api":
            good = api(console, chosen.cases) and good
        elif name == "coverage":
            good = coverage() and good
        else:
            found.append(fuzz(name, chosen.seconds, FINDINGS / name))
            good = good and not found[-1].inputs
            if found[-1].inputs:
                console.print(found[-1].output[-6000:], markup=False, highlight=False)
    if found:
        table(console, found)
    return 0 if good else 1


def table(console: Console, found: list[Found]) -> None:
    rows = Table("target", "inputs tried", "a second", "edges", "MiB", "deaths", "broken by", box=None)
    for item in found:
        broken = ", ".join(str(path) for path in item.inputs) or "nothing"
        numbers = (f"{item.runs:,}", f"{item.per_s:,}", str(item.edges), str(item.rss_mb), str(item.deaths))
        rows.add_row(item.target, *numbers, broken)
    console.print(rows, highlight=False)


def sequences(console: Console, count: int) -> None:
    """Raises what breaks a rule."""
    for machine in MACHINES:
        started = time.monotonic()
        run(machine, -(-count // len(MACHINES)))
        console.print(f"  {machine.__name__}: nothing, in {time.monotonic() - started:.0f} s", highlight=False)


def api(console: Console, cases: int) -> bool:
    """Whether a real relay took all of it."""
    with tempfile.TemporaryDirectory(prefix="fieldrelay-fuzz-api-") as folder:
        processes = Processes(Path(folder))
        try:
            outcome = asyncio.run(attack(processes, Path(folder), cases))
        finally:
            processes.close()
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(outcome.statuses.items()))
    console.print(f"  {outcome.cases} requests to {outcome.operations} operations: {statuses}", highlight=False)
    console.print(f"  slowest {outcome.slowest_s:.2f} s: {outcome.slowest}", highlight=False)
    for words, count in Counter(outcome.wrong).most_common(20):
        console.print(f"  {count} × {words[:1000]}", markup=False, highlight=False)
    return not outcome.wrong


def coverage() -> bool:
    """Whether the kept inputs and the tests of the parsers together reach nearly all lines of these."""
    with tempfile.TemporaryDirectory(prefix="fieldrelay-fuzz-coverage-") as folder:
        tool = (sys.executable, "-m", "coverage")
        data = f"--data-file={folder}/data"
        include = f"--include={','.join(PARSERS)}"
        # The demuxer's child is not seen where it is one: what it is given is tried in a process that is.
        for words in (("tests.fuzz.replay",), ("pytest", "-q", "-p", "no:cacheprovider", *THEIR_TESTS)):
            if subprocess.run((*tool, "run", "--append", data, include, "-m", *words), check=False).returncode:
                return False
        told = (*tool, "report", data, include, "--show-missing", f"--fail-under={COVERED}")
        return subprocess.run(told, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
