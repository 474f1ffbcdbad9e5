"""The servers compared: this relay, and others by a configuration file, each sending every channel to DESTINATIONS."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.drain import ADDRESSES
from tests.support import nginx
from tests.support.process import Process, Processes, free_port, wait_for_port
from tests.support.relay import Relay

DESTINATIONS = len(ADDRESSES)


class Server(Protocol):
    """One server, started once. ``port`` takes publishers; ``pid`` is the process whose time is counted."""

    name: str
    port: int

    @property
    def pid(self) -> int: ...

    async def start(self, channels: int, drain_port: int) -> None:
        """Be ready to send ``channels`` channels to every address of the drain."""

    def url(self, channel: int) -> tuple[str, str]:
        """(app, stream name) that channel is published to."""

    async def stop(self) -> None: ...

    async def metrics(self) -> dict[str, float]:
        """What it says of itself, if anything."""


class FieldRelay:
    """This relay, with ``settings`` as environment names without ``RELAY_``."""

    name = "field-relay"

    def __init__(self, processes: Processes, folder: Path, **settings: object) -> None:
        self._relay = Relay(
            processes, folder, f"relay-{folder.name}",
            LIMITS__CONNECTIONS=5000, LIMITS__CONNECTIONS_PER_ADDRESS=5000, **settings,
        )  # fmt: skip
        self.port = self._relay.rtmp_port

    @property
    def pid(self) -> int:
        return self._relay.pid

    async def start(self, channels: int, drain_port: int, destinations: int = DESTINATIONS) -> None:
        await self._relay.start()
        document = [
            {
                "name": f"c{channel}",
                "stream_key": self.url(channel)[1],
                "destinations": [
                    {"name": f"d{place}", "url": f"rtmp://{address}:{drain_port}/drain", "key": f"{channel}-{place}"}
                    for place, address in enumerate(ADDRESSES[:destinations])
                ],
            }
            for channel in range(channels)
        ]
        for at in range(0, channels, 50):
            await self._relay.api("POST", "/apply", {"channels": document[at : at + 50]})

    def url(self, channel: int) -> tuple[str, str]:
        return "live", f"measuredchannelnumber{channel:06}"

    async def stop(self) -> None:
        await self._relay.stop(60)

    async def metrics(self) -> dict[str, float]:
        return await self._relay.metrics()


@dataclass(frozen=True)
class Kind:
    """How another server is run. ``config`` and ``argv`` may name {port}, {drain}, {folder}, {config} and {user}."""

    name: str
    binary: str
    config: str
    argv: tuple[str, ...]
    needs: str = ""
    """A file without which it cannot do this."""

    @property
    def is_here(self) -> bool:
        return shutil.which(self.binary) is not None and (not self.needs or Path(self.needs).exists())


NGINX = Kind(
    "nginx-rtmp",
    "nginx",
    """
{user}
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
rtmp {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        chunk_size 4096;
        application live {{
            live on;
            push rtmp://127.0.0.1:{drain};
            push rtmp://127.0.0.2:{drain};
            push rtmp://127.0.0.3:{drain};
        }}
    }}
}}
""",
    ("nginx", "-p", "{folder}", "-e", "stderr", "-c", "{config}"),
    needs=nginx.MODULE,
)
SRS = Kind(
    "srs",
    "srs",
    """
listen {port};
max_connections 10000;
daemon off;
srs_log_tank console;
srs_log_level warn;
pid {folder}/srs.pid;
vhost __defaultVhost__ {{
    forward {{ enabled on; destination 127.0.0.1:{drain} 127.0.0.2:{drain} 127.0.0.3:{drain}; }}
}}
""",
    ("srs", "-c", "{config}"),
)
OTHERS = (NGINX, SRS)
"""mediamtx and node-media-server hand each destination to an ffmpeg of its own, and are not compared."""


class Other:
    """A server of ``kind``."""

    def __init__(self, processes: Processes, kind: Kind, folder: Path) -> None:
        self.name = kind.name
        self.port = free_port()
        self._kind = kind
        self._processes = processes
        self._folder = folder
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, channels: int, drain_port: int) -> None:
        self._folder.mkdir(parents=True)
        config = self._folder / "server.conf"
        words = {
            "port": self.port,
            "drain": drain_port,
            "folder": self._folder,
            "config": config,
            "module": nginx.MODULE,
            "user": "user root;" if os.getuid() == 0 else "",
        }
        config.write_text(self._kind.config.format(**words), "utf-8")
        argv = [word.format(**words) for word in self._kind.argv]
        self._process = self._processes.start(*argv, name=f"{self.name}-{self._folder.name}", cwd=self._folder)
        await wait_for_port(self.port, self._process)

    def url(self, channel: int) -> tuple[str, str]:
        return "live", f"channel{channel}"

    async def stop(self) -> None:
        assert self._process is not None
        self._process.kill()

    async def metrics(self) -> dict[str, float]:
        return {}
