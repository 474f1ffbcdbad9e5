"""Hostile hosts in a process of their own: ``python -m tests.attack.hosts FOLDER [AUTHORITIES]`` serves every kind.

FOLDER gets ``urls.json``, once, and ``counts.json``, again and again: {kind: [connections so far, open now]}.
"""

import asyncio
import contextlib
import json
import ssl
import sys
import time
from pathlib import Path

import uvloop

from tests.support.hostile import KINDS, Hostile
from tests.support.hostile_http import HTTP_KINDS
from tests.support.process import Process, Processes
from tests.support.tls import hostile_contexts

EVERY_S = 0.1


class Hosts:
    """The parent's side. ``authorities``: a file the relay is to trust, so that only what is wrong is refused."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self._processes = processes
        self._folder = folder
        self._process: Process | None = None
        self.authorities = folder / "tls" / "authorities.pem"
        self.urls: dict[str, str] = {}

    async def start(self) -> None:
        """Serve; the hosts yield to everybody else on this machine, as they would be elsewhere."""
        self._folder.mkdir(exist_ok=True)
        words = ("nice", "-n", "19", sys.executable, "-m", "tests.attack.hosts", str(self._folder))
        self._process = process = self._processes.start(*words, name="hosts")
        until = time.monotonic() + 60
        while not (self._folder / "counts.json").exists():
            assert time.monotonic() < until, process.tail()
            assert process.running, process.tail()
            await asyncio.sleep(0.05)
        self.urls = json.loads((self._folder / "urls.json").read_text("utf-8"))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Connections so far and open now, by kind."""
        found = json.loads((self._folder / "counts.json").read_text("utf-8"))
        return {name: (made, still) for name, (made, still) in found.items()}

    def end(self) -> str:
        """What went wrong with the hosts themselves."""
        assert self._process is not None
        self._process.kill()
        return self._process.errors.read_text("utf-8", "replace")


def _put(path: Path, what: object) -> None:
    path.with_suffix(".new").write_text(json.dumps(what), "utf-8")
    path.with_suffix(".new").rename(path)


async def _main(folder: Path) -> None:
    contexts: dict[str, ssl.SSLContext]
    contexts, _ = hostile_contexts(folder / "tls")
    async with contextlib.AsyncExitStack() as stack:
        servers: dict[str, Hostile] = {}
        urls: dict[str, str] = {}
        for name, kind in KINDS.items():
            servers[name] = await stack.enter_async_context(Hostile(kind, contexts))
            urls[name] = servers[name].url
        for name, kind in HTTP_KINDS.items():
            servers[f"http: {name}"] = host = await stack.enter_async_context(Hostile(kind))
            urls[f"http: {name}"] = f"http://127.0.0.1:{host.port}/live/index.m3u8"
        _put(folder / "urls.json", urls)
        while True:
            _put(folder / "counts.json", {name: (host.connections, host.open) for name, host in servers.items()})
            await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    uvloop.run(_main(Path(sys.argv[1])))
