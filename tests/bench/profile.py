"""Where the relay's time goes under the usual load: a sampling profiler beside the real process (as root)."""

import asyncio
import re
from collections import Counter
from pathlib import Path

from tests.bench.figures import kernel_s
from tests.bench.load import USUAL, Load, measure
from tests.bench.servers import FieldRelay
from tests.support.process import Processes

ROOT = Path(__file__).parents[2]
PROFILER = "py-spy==0.4.1"
LOAD = Load("100 channels of 1 Mbit/s", USUAL, 100)
SECONDS, QUICK_SECONDS, RATE_HZ = 30, 5, 250
SHOWN = 16


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """The functions with most samples, what they call not counted, and the kernel's share of all time."""
    tool = await asyncio.create_subprocess_exec(ROOT / "scripts/tool", PROFILER, stdout=asyncio.subprocess.PIPE)
    programs, _ = await tool.communicate()
    assert tool.returncode == 0, f"{PROFILER} could not be installed"
    profiler, samples = f"{programs.decode().strip()}/py-spy", folder / "samples"
    kernel = 0.0

    async def sample(pid: int, seconds: float) -> None:
        nonlocal kernel
        kernel -= kernel_s(pid)
        made = await asyncio.create_subprocess_exec(
            profiler, "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(RATE_HZ),
            "--nonblocking", "--format", "raw", "--output", samples, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await made.wait() == 0, "the profiler failed; what it said is above"
        kernel += kernel_s(pid)

    server = FieldRelay(processes, folder / "server", ARCHIVE__STORE="off")
    seconds = QUICK_SECONDS if quick else SECONDS
    figures = await measure(processes, folder / "measured", server, LOAD, seconds, sample)
    mine = Counter[str]()
    for line in samples.read_text("utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        mine[_function(stack.rpartition(";")[2])] += int(count)
    rows = [
        (f"{LOAD.what}: {function}", f"{100 * count / mine.total():.1f} %", "")
        for function, count in mine.most_common(SHOWN)
    ]
    used_s = figures.cpu / 100 * seconds
    return [*rows, (f"{LOAD.what}: in the kernel, of all", f"{100 * kernel / used_s:.0f} %", "")]


def _function(frame: str) -> str:
    """``name`` and file of a frame as py-spy writes it: ``name (path:line)``."""
    found = re.fullmatch(r"(.+) \((.+?)(:\d+)?\)", frame)
    if found is None:
        return frame
    path = found[2]
    return f"{path[path.rindex('relay/') :] if 'relay/' in path else Path(path).name} {found[1]}"
