"""A real Prometheus (Debian's) on the configuration of deploy/, scraping a test's relay every second."""

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.support.dashboards import PROMETHEUS
from tests.support.process import Process, Processes, free_port, wait_for_port
from tests.support.relay import Relay


class Prometheus:
    """One server with a folder of its own. Only target, token and intervals differ from deploy/prometheus."""

    def __init__(self, processes: Processes, folder: Path, relay: Relay) -> None:
        self._processes = processes
        self._folder = folder
        self._relay = relay
        self.port = free_port()
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it and return once it has scraped the relay: what is counted from then on is seen to rise."""
        self._folder.mkdir()
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
        (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "relay"]
        job["authorization"]["credentials_file"] = str(self._relay.data.absolute() / "admin.token")
        job["static_configs"] = [{"targets": [f"127.0.0.1:{self._relay.http_port}"]}]
        config["scrape_configs"] = [job]
        path = self._folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        self.process = self._processes.start(
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            name="prometheus",
        )
        await wait_for_port(self.port, self.process, 60)
        until = time.monotonic() + 60
        while not (await asyncio.to_thread(self._is_ready) and await self.values("up == 1", instant=True)):
            assert time.monotonic() < until, f"the relay is not scraped:\n{self.process.tail()}"
            await asyncio.sleep(0.1)

    def _is_ready(self) -> bool:
        """It listens before it answers queries: until it has read its log it says 503."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=20) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False

    async def ask(self, path: str, **parameters: object) -> Any:
        """What ``/api/v1/`` + ``path`` answers as its data. Raises AssertionError with Prometheus' words."""
        query = urllib.parse.urlencode({key: str(value) for key, value in parameters.items()})
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"

        def call() -> Any:
            try:
                with urllib.request.urlopen(url, timeout=20) as answer:
                    return json.load(answer)["data"]
            except urllib.error.HTTPError as error:
                with error:
                    raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None

        return await asyncio.to_thread(call)

    async def values(self, expression: str, *, instant: bool, seconds: float = 60) -> list[dict[str, Any]]:
        """The series ``expression`` gives now, or gave within the last ``seconds``."""
        if instant:
            return list((await self.ask("query", query=expression))["result"])
        now = time.time()
        found = await self.ask("query_range", query=expression, start=now - seconds, end=now, step=1)
        return list(found["result"])
