"""Child processes for tests: own group, output to a file, stopped whatever happens, ports nobody else takes."""

import asyncio
import atexit
import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Below the kernel's ephemeral range (32768 on): no outgoing connection ever sits on one of these.
PORTS = range(20000, 32000)

_held: list[int] = []


def free_port() -> int:
    """A TCP port no other test run on this machine gets: locked for the life of this process."""
    folder = Path(tempfile.gettempdir()) / f"fieldrelay-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.choice(PORTS)
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                os.close(lock)
                continue
        _held.append(lock)
        return port


class Process:
    """One running program in its own process group. ``output`` and ``errors`` are files that outlive it."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        folder: Path,
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:
        self.name = name
        self.argv = [str(word) for word in argv]
        self.output = folder / f"{name}.out"
        self.errors = folder / f"{name}.err"
        with self.output.open("ab") as out, self.errors.open("ab") as err:
            self.popen = subprocess.Popen(
                self.argv,
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def text(self) -> str:
        """Everything it wrote so far, standard output first."""
        return self.output.read_text("utf-8", "replace") + self.errors.read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def wait(self, within: float = 60.0) -> int:
        """Its exit code; AssertionError with its output when it is still there after ``within`` seconds."""
        until = time.monotonic() + within
        while self.running:
            if time.monotonic() > until:
                raise AssertionError(f"{self.name} still runs after {within} s:\n{self.tail()}")
            await asyncio.sleep(0.05)
        return self.popen.returncode

    async def done(self, within: float = 60.0) -> None:
        """Wait for exit code 0."""
        code = await self.wait(within)
        assert code == 0, f"{self.name} ended with {code}:\n{self.tail()}"

    def tail(self, characters: int = 4000) -> str:
        return f"$ {' '.join(self.argv)}\n{self.text()[-characters:]}"

    def kill(self) -> None:
        """End the group at once and reap the child. Safe to call again."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.popen.wait()


class Processes:
    """Starts programs for one test and ends every one of them afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []
        self._counts: dict[str, int] = {}
        atexit.register(self.close)

    def start(
        self,
        *argv: str | Path,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
    ) -> Process:
        """Run ``argv`` in the background. ``env`` is added to this process's environment."""
        name = name or Path(argv[0]).name
        count = self._counts[name] = self._counts.get(name, 0) + 1
        process = Process(
            argv,
            self.folder,
            name if count == 1 else f"{name}-{count}",
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            stdin=stdin,
        )
        self.started.append(process)
        return process

    def report(self) -> str:
        """What each program said, for a failed test."""
        return "\n".join(f"--- {process.name} (pid {process.pid})\n{process.tail()}" for process in self.started)

    def close(self) -> None:
        for process in reversed(self.started):
            process.kill()
        atexit.unregister(self.close)


async def wait_for_port(port: int, process: Process | None = None, within: float = 30.0) -> None:
    """Return once something listens on 127.0.0.1:``port``."""
    until = time.monotonic() + within
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process is not None and not process.running:
                raise AssertionError(f"{process.name} ended before it listened:\n{process.tail()}") from None
            if time.monotonic() > until:
                shown = "" if process is None else f":\n{process.tail()}"
                raise AssertionError(f"nothing listens on port {port} after {within} s{shown}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
