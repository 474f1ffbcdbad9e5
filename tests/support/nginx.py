"""nginx: a real destination that records RTMP to disk or takes files by PUT; and a real origin of files over HTTP."""

import os
from pathlib import Path

from tests.support.listing import Listing, read_flv
from tests.support.process import Process, Processes, free_port, wait_for_port

MODULE = "/usr/lib/nginx/modules/ngx_rtmp_module.so"

_CONFIG = """
{user}
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
rtmp {{
    server {{
        listen 127.0.0.1:{port};
        chunk_size 4096;
        application live {{
            live on;
            record all;
            record_path {folder}/recorded;
            record_unique off;
        }}
    }}
}}
"""


_FILES = """
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
    }}
}}
"""


class NginxFiles:
    """Serves ``root`` at ``url``. ``kill`` and ``start`` it as often as wanted."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = processes.folder / f"nginx-{self.port}"
        self.root = self.folder / "www"
        self.root.mkdir(parents=True)
        self.config = self.folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        self.config.write_text(_FILES.format(user=user, folder=self.folder, port=self.port), "utf-8")
        self.process: Process | None = None

    async def start(self) -> None:
        words = ("nginx", "-p", self.folder, "-e", "stderr", "-c", self.config)
        self.process = self._processes.start(*words, name="nginx-files")
        await wait_for_port(self.port, self.process)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()


class NginxRtmp:
    """``url`` takes any key; ``recorded(key)`` is what arrived under it, readable once ``finished(key)``."""

    def __init__(self, processes: Processes) -> None:
        self.port = free_port()
        self.url = f"rtmp://127.0.0.1:{self.port}/live"
        self.folder = processes.folder / f"nginx-{self.port}"
        (self.folder / "recorded").mkdir(parents=True)
        config = self.folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        config.write_text(_CONFIG.format(user=user, module=MODULE, folder=self.folder, port=self.port), "utf-8")
        self.process: Process = processes.start("nginx", "-p", self.folder, "-e", "stderr", "-c", config)

    async def ready(self) -> None:
        await wait_for_port(self.port, self.process)

    def path(self, key: str) -> Path:
        return self.folder / "recorded" / f"{key}.flv"

    def recorded(self, key: str) -> Listing:
        return read_flv(self.path(key))


_UPLOADS = """
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_max_body_size 20m;
    client_body_temp_path {folder}/temp;
    types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location / {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


class NginxUploads:
    """A web server below ``url`` that keeps what is PUT there in ``files`` and serves it."""

    def __init__(self, processes: Processes) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/live"
        folder = processes.folder / f"nginx-{self.port}"
        self.files = folder / "files"
        self.access_log = folder / "access.log"
        self.files.mkdir(parents=True)
        config = folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        config.write_text(_UPLOADS.format(user=user, folder=folder, port=self.port), "utf-8")
        self.process: Process = processes.start("nginx", "-p", folder, "-e", "stderr", "-c", config, name="nginx-put")

    async def ready(self) -> None:
        await wait_for_port(self.port, self.process)
