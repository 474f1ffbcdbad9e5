"""A real `relay serve` process with a data directory, ports and settings of its own."""

import asyncio
import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.process import Process, Processes, free_port, wait_for_port

COMMAND = Path(sys.executable).with_name("relay")


STARTED: list["Relay"] = []
"""Every relay this test process has started: ``leaks`` reads what they logged, when all is over."""
WELL_KNOWN = ("correct horse battery", "a-secret-of-the-test-1234", "platform-key-1234", "part-of-the-secret")
"""Secrets that tests use again and again."""


class ApiError(Exception):
    """The API answered with an error status."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Relay:
    """One relay process. Settings are given as environment names without ``RELAY_``, such as ``HOLD__LIMIT_S``."""

    def __init__(self, processes: Processes, data: Path, name: str = "relay", **settings: object) -> None:
        self.processes = processes
        self.data = data
        self.name = name
        self.rtmp_port = free_port()
        self.rtmps_port = free_port()
        self.ingest_http_port = free_port()
        self.http_port = free_port()
        self.settings: dict[str, str] = {
            "DATA_DIR": str(data),
            "RTMP__LISTEN": f"127.0.0.1:{self.rtmp_port}",
            "RTMP__TLS_LISTEN": f"127.0.0.1:{self.rtmps_port}",
            "RTMP__PUBLIC_HOST": "127.0.0.1",
            "INGEST_HTTP__LISTEN": f"127.0.0.1:{self.ingest_http_port}",
            "HTTP__LISTEN": f"127.0.0.1:{self.http_port}",
            "OUTBOUND__ALLOW_PRIVATE": "true",
            **{key: str(value) for key, value in settings.items()},
        }
        self.command: tuple[str | Path, ...] = (COMMAND,)
        """What runs it: words before ``serve``."""
        self.process: Process | None = None
        self.keys: set[str] = set()
        """Every key seen; none of them may be in a log."""
        STARTED.append(self)

    @property
    def env(self) -> dict[str, str]:
        return {f"RELAY_{key}": value for key, value in self.settings.items()}

    async def start(self, within: float = 30.0) -> None:
        """Start it and return once ``/readyz`` is green."""
        self.process = self.processes.start(*self.command, "serve", name=self.name, env=self.env)
        await wait_for_port(self.http_port, self.process, within)
        until = time.monotonic() + within
        while True:
            try:
                await self.fetch("/readyz")
            except (ApiError, OSError) as error:
                if time.monotonic() > until or not self.process.running:
                    raise AssertionError(f"{self.name} is not ready: {error}\n{self.process.tail()}") from error
                await asyncio.sleep(0.05)
            else:
                return

    async def stop(self, within: float = 10.0) -> None:
        """SIGTERM; it must be gone with exit code 0 ``within`` seconds, its log quiet and free of keys."""
        process = self._process
        process.popen.send_signal(signal.SIGTERM)
        code = await process.wait(within)
        assert code == 0, f"{self.name} ended with {code}:\n{process.tail()}"
        self.check_log()

    def kill(self) -> None:
        """SIGKILL; ``start`` begins anew on what is left."""
        self._process.kill()

    @property
    def _process(self) -> Process:
        assert self.process is not None, f"{self.name} was not started"
        return self.process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._process.text()

    def check_log(self) -> None:
        """No key a test has seen, and no traceback, in anything the process wrote."""
        text = self.log
        position = text.find("Traceback")
        assert position < 0, f"{self.name} logged a traceback:\n{text[max(0, position - 500) : position + 6000]}"
        for key in self.keys:
            assert key not in text, f"{self.name} wrote a key: {_around(text, key)}"
        assert text.count(self.token) <= 1, f"{self.name} wrote the admin token more than once"

    # --- the API ----------------------------------------------------------------------------------------------

    @property
    def token(self) -> str:
        return (self.data / "admin.token").read_text("utf-8").strip()

    async def fetch(self, path: str, *, method: str = "GET", body: object = None, token: str | None = None) -> bytes:
        """The bytes at ``path``. Raises ApiError for an error status."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
        )

        def call() -> bytes:
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    raise ApiError(error.code, error.read().decode("utf-8", "replace")) from None

        return await asyncio.to_thread(call)

    async def api(self, method: str, path: str, body: object = None) -> Any:
        """Call ``/api/v1`` + ``path`` with the admin token; the JSON answer, or None for an empty one."""
        answer = await self.fetch(f"/api/v1{path}", method=method, body=body, token=self.token)
        return json.loads(answer) if answer else None

    async def add_channel(self, name: str, **fields: object) -> dict[str, Any]:
        channel: dict[str, Any] = await self.api("POST", "/channels", {"name": name, **fields})
        self.keys |= {value for field, value in channel.items() if field.endswith("_key") and value}
        return channel

    async def channel(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.api("GET", f"/channels/{name}")
        return found

    async def add_destination(
        self, channel: str, name: str, url: str, key: str = "", **fields: object
    ) -> dict[str, Any]:
        if len(key) > 8:
            self.keys.add(key)
        body = {"name": name, "url": url, "key": key, **fields}
        added: dict[str, Any] = await self.api("POST", f"/channels/{channel}/destinations", body)
        return added

    async def destination(self, channel: str, name: str) -> dict[str, Any]:
        found = [item for item in (await self.channel(channel))["destinations"] if item["name"] == name]
        assert len(found) == 1, f"no destination {name} in {channel}"
        destination: dict[str, Any] = found[0]
        return destination

    async def wait_destination(self, channel: str, name: str, state: str, within: float = 20.0) -> dict[str, Any]:
        """Return the destination once it is in ``state``."""
        until = time.monotonic() + within
        while (found := await self.destination(channel, name))["state"] != state:
            assert time.monotonic() < until, f"{channel}/{name} is not {state} after {within} s: {found}"
            await asyncio.sleep(0.05)
        return found

    async def wait_channel(self, name: str, state: str, within: float = 20.0) -> dict[str, Any]:
        """Return the channel once it is in ``state``."""
        until = time.monotonic() + within
        while (found := await self.channel(name))["state"] != state:
            assert time.monotonic() < until, f"{name} is not {state} after {within} s: {found['state']}"
            await asyncio.sleep(0.05)
        return found

    def publish_url(self, channel: dict[str, Any]) -> str:
        """One URL with the key in it, on the loopback."""
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live/{channel['stream_key']}"

    async def recording(self, channel: str, state: str = "complete", within: float = 30.0) -> dict[str, Any]:
        """The newest recording of ``channel`` once it is in ``state`` with every segment stored."""
        until = time.monotonic() + within
        while True:
            found = (await self.api("GET", f"/recordings?channel={channel}"))["recordings"]
            newest: dict[str, Any] | None = found[0] if found else None
            if newest and newest["state"] == state and newest["segments_stored"] == newest["segments"] > 0:
                # The playlist follows the last segment; in a bucket, whoever reads it looks for its end.
                playlist = self.data / "archive" / channel / newest["id"] / "index.m3u8"
                if state != "complete" or not playlist.exists() or "#EXT-X-ENDLIST" in playlist.read_text("utf-8"):
                    return newest
            assert time.monotonic() < until, f"{channel} has no {state} recording after {within} s: {found}"
            await asyncio.sleep(0.1)

    # --- metrics ----------------------------------------------------------------------------------------------

    async def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics`` by its full name, such as ``relay_channel_live{channel="demo"}``."""
        text = (await self.fetch("/metrics", token=self.token)).decode()
        samples: dict[str, float] = {}
        for line in text.splitlines():
            found = re.fullmatch(r"([^#\s{]+(?:\{.*\})?)\s+(\S+)", line)
            if found:
                samples[found[1]] = float(found[2])
        return samples

    def memory(self) -> int:
        """Resident bytes of the process now."""
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def run(self, *words: str) -> Process:
        """Run a `relay` command against this relay."""
        return self.processes.start(COMMAND, *words, name=f"{self.name}-cli", env={**os.environ, **self.env})


def leaks() -> list[str]:
    """Each secret that is in the log of a relay of this process, by file; whatever became of that relay."""
    found = []
    for relay in STARTED:
        file = relay.data / "admin.token"
        token = {file.read_text("utf-8").strip()} if file.is_file() else set()
        for path in sorted(relay.processes.folder.glob(f"{relay.name}*.err")):
            text = path.read_text("utf-8", "replace")
            found += [f"{path}: {_around(text, key)}" for key in {*relay.keys, *token, *WELL_KNOWN} if key in text]
    return found


def _around(text: str, key: str) -> str:
    position = text.index(key)
    return text[max(0, position - 200) : position].replace(key, "…") + "<KEY>"
