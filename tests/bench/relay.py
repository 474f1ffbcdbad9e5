"""Relaying, side by side with other servers: the same phones and the same drain, in turns, within one run."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.bench.load import HIGH, LOW, USUAL, Figures, Load, measure, median, row
from tests.bench.servers import DESTINATIONS, OTHERS, FieldRelay, Other, Server
from tests.support.process import Processes

SECONDS, QUICK_SECONDS = 20.0, 10.0
TURNS = 2
LOADS: tuple[tuple[Load, str], ...] = (
    (Load("10 channels of 1 Mbit/s", USUAL, 10), ""),
    (Load("100 channels of 1 Mbit/s", USUAL, 100), "≤ 0.45"),
    (Load("100 channels of 300 kbit/s", LOW, 100), "≤ 0.6"),
    (Load("100 channels of 3 Mbit/s", HIGH, 100), "≤ 0.6"),
    (Load("100 channels of 1 Mbit/s in bursts of 200 ms", USUAL, 100, 200), "≤ 0.6"),
    (Load("300 channels of 1 Mbit/s", USUAL, 300), ""),
)
"""With the ratio to nginx-rtmp that is wanted."""
QUICK = (1, 4)

Servers = Mapping[str, Callable[[Path], Server]]


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """Each load through every server there is, A B A B; medians, and the ratio to nginx-rtmp."""
    servers: dict[str, Callable[[Path], Server]] = {
        "field-relay": lambda place: FieldRelay(processes, place, ARCHIVE__STORE="off"),
        **{kind.name: partial(Other, processes, kind) for kind in OTHERS if kind.is_here},
    }
    loads = [LOADS[at] for at in QUICK] if quick else LOADS
    return await compare(processes, folder, servers, loads, quick=quick)


async def compare(
    processes: Processes, folder: Path, servers: Servers, loads: Sequence[tuple[Load, str]], *, quick: bool
) -> list[tuple[str, str, str]]:
    """The rows of ``loads``; ``servers`` begins with the one whose ratio to "nginx-rtmp" is wanted."""
    rows = []
    for number, (load, aim) in enumerate(loads):
        found: dict[str, list[Figures]] = {name: [] for name in servers}
        for turn in range(1 if quick and number else TURNS):
            for name, make in servers.items():
                place = folder / f"{number}-{turn}-{name}"
                run = await measure(processes, place, make(place / "server"), load, QUICK_SECONDS if quick else SECONDS)
                found[name].append(run)
        what = f"{load.what} to {DESTINATIONS} each"
        rows += [(f"{what}: {name}", row(runs), "") for name, runs in found.items()]
        first = next(iter(servers))
        if "nginx-rtmp" in found:
            ratio = median(found[first], "cpu") / median(found["nginx-rtmp"], "cpu")
            rows.append((f"{what}: ratio to nginx-rtmp", f"{ratio:.2f}", aim))
    return rows
