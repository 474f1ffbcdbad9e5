"""Where the relay's time goes under the usual load: a sampling profiler beside the real process (as root)."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.bench.load import USUAL, Load, measure
from tests.bench.servers import FieldRelay
from tests.support import s3
from tests.support.process import Processes

ROOT = Path(__file__).parents[2]
PROFILER = "py-spy==0.4.1"
LOAD = Load("100 channels of 1 Mbit/s", USUAL, 100)
SECONDS, QUICK_SECONDS, RATE_HZ = 30, 5, 1000
SHOWN = 16


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """The functions with most samples while relaying, what they call not counted; the threads' shares while recording.

    Shares of all samples of what runs, and while recording of what runs Python: threads that wait for a disk look busy.
    """
    tool = await asyncio.create_subprocess_exec(ROOT / "scripts/tool", PROFILER, stdout=asyncio.subprocess.PIPE)
    programs, _ = await tool.communicate()
    assert tool.returncode == 0, f"{PROFILER} could not be installed"
    profiler = f"{programs.decode().strip()}/py-spy"
    seconds = QUICK_SECONDS if quick else SECONDS
    relaying, recording = Profile(profiler, folder / "relaying"), Profile(profiler, folder / "recording", "--gil")
    server = FieldRelay(processes, folder / "relay", ARCHIVE__STORE="off")
    await measure(processes, folder / "measured-relay", server, LOAD, seconds, relaying.watch)
    async with s3.serve(processes, folder) as store:
        server = FieldRelay(processes, folder / "recorder", **store.settings)
        await measure(processes, folder / "measured-recorder", server, LOAD, seconds, recording.watch)
    return [
        *((f"{LOAD.what}: {name}", share, "") for name, share in relaying.shares(_function)),
        *((f"{LOAD.what}, recorded: {name}", share, "") for name, share in recording.shares(_thread)),
    ]


class Profile:
    """Samples of a process, in the file ``samples``."""

    def __init__(self, profiler: str, samples: Path, *options: str) -> None:
        self._argv = (profiler, "record", "--rate", str(RATE_HZ), "--nonblocking", "--threads", *options)
        self._samples = samples

    async def watch(self, pid: int, seconds: float) -> None:
        argv = (*self._argv, "--pid", str(pid), "--duration", f"{seconds:.0f}", "--format", "raw")
        sampling = await asyncio.create_subprocess_exec(
            *argv, "--output", self._samples, stdout=asyncio.subprocess.DEVNULL
        )
        assert await sampling.wait() == 0, "the profiler failed; what it said is above"

    def shares(self, name: Callable[[list[str]], str]) -> list[tuple[str, str]]:
        """The names with most samples, and their share. A stack begins with its thread."""
        counts = Counter[str]()
        for line in self._samples.read_text("utf-8", "replace").splitlines():  # what is read while it runs can be torn
            stack, _, count = line.rpartition(" ")
            counts[name(stack.split(";"))] += int(count)
        return [(what, f"{100 * count / counts.total():.1f} %") for what, count in counts.most_common(SHOWN)]


def _function(stack: list[str]) -> str:
    """File and name of what runs, which py-spy writes as ``name (path:line)``."""
    found = re.fullmatch(r"(.+) \((.+?)(:\d+)?\)", stack[-1])
    if found is None:
        return stack[-1]
    path = found[2]
    return f"{path[path.rindex('relay/') :] if 'relay/' in path else Path(path).name} {found[1]}"


def _thread(stack: list[str]) -> str:
    """``uploader`` for all of ``thread (123): uploader_0`` and its like."""
    return stack[0].rpartition(": ")[2].rstrip("0123456789").rstrip("_-")
