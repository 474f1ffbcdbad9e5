"""A sink in a process of its own: `python -m tests.support.counter PORT REPORT`, report written on SIGTERM."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from tests.support.listing import Item, Listing
from tests.support.process import Process, Processes, free_port, wait_for_port
from tests.support.sink import Sink


class CounterProcess:
    """The parent's side: a sink that can be stopped (SIGSTOP) and that costs the test's own loop nothing."""

    def __init__(self, processes: Processes, name: str = "counter") -> None:
        self.port = free_port()
        self.report_path = processes.folder / f"{name}-{self.port}.json"
        self.url = f"rtmp://127.0.0.1:{self.port}/sink"
        self.process: Process = processes.start(
            sys.executable, "-m", "tests.support.counter", str(self.port), str(self.report_path), name=name
        )

    async def ready(self) -> None:
        await wait_for_port(self.port, self.process)

    async def finish(self) -> dict[str, list[dict[str, Any]]]:
        """End it; for each key the connections made with it: {items, order, opened_at, closed_at, goodbye}."""
        self.process.popen.send_signal(signal.SIGTERM)
        await self.process.done(30)
        report: dict[str, list[dict[str, Any]]] = {}
        for entry in json.loads(self.report_path.read_text("utf-8")):
            listing = Listing()
            listing.items = [Item(*item) for item in entry["items"]]
            report.setdefault(entry["name"], []).append({**entry, "listing": listing})
        return report


async def _main(port: int, report: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Sink(port=port) as sink:
        await stop.wait()
    entries = [
        {
            "name": arrival.name,
            "items": arrival.listing.items,
            "order": arrival.order,
            "opened_at": arrival.opened_at,
            "closed_at": arrival.closed_at,
            "goodbye": arrival.goodbye,
            "error": arrival.error,
        }
        for arrival in sink.connections
        if arrival.name
    ]
    report.write_text(json.dumps(entries), "utf-8")


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
