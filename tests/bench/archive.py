"""With the archive on (spool with fsync, CMAF, upload to a real store), against nginx-rtmp that only relays."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.load import USUAL, Load
from tests.bench.relay import compare
from tests.bench.servers import NGINX, FieldRelay, Other, Server
from tests.support import s3
from tests.support.process import Processes

LOAD, QUICK_LOAD = Load("100 channels of 1 Mbit/s", USUAL, 100), Load("30 channels of 1 Mbit/s", USUAL, 30)


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """Recording and uploading while relaying, then the same channels through nginx-rtmp, A B A B."""
    async with s3.serve(processes, folder) as store:
        servers: dict[str, Callable[[Path], Server]] = {
            "field-relay, archive on": lambda place: FieldRelay(processes, place, **store.settings),
            "nginx-rtmp": partial(Other, processes, NGINX),
        }
        return await compare(processes, folder, servers, [(QUICK_LOAD if quick else LOAD, "≤ 0.9")], quick=quick)
