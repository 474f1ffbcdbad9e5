"""Doctor: looks at what the relay needs, and says what to do about what is missing."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relay.archive.store import check, make_store
from relay.client import Client
from relay.config import Settings, split_address
from relay.egress.ffmpeg import program
from relay.errors import RelayError

LEAST_FREE_BYTES = 1024**3
OLDEST_SANE_TIME = 1_750_000_000  # mid-2025: a clock before that was never set


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what it is about, whether all is well, and what was seen (with what to do, where it is not)."""

    check: str
    ok: bool
    finding: str


def examine(settings: Settings) -> list[Finding]:
    """Every check, none able to stop the others."""
    return [*_ports(settings), _disk(settings), _ffmpeg(), _store(settings), _clock()]


def _ports(settings: Settings) -> Iterator[Finding]:
    running = _runs(settings)
    doors = [
        ("rtmp port", settings.rtmp.listen),
        ("hls port", settings.ingest_http.listen),
        ("http port", settings.http.listen),
    ]
    if settings.rtmp.tls_certificate is not None:
        doors.insert(1, ("rtmps port", settings.rtmp.tls_listen))
    for name, address in doors:
        host, port = split_address(address)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                words = f"{address}: {error.strerror}; " + (
                    "the relay has it" if running else "another program has it: choose another address in the settings"
                )
                yield Finding(name, running, words)
            else:
                yield Finding(name, True, f"{address} is free")


def _runs(settings: Settings) -> bool:
    try:
        Client(settings).call("GET", "channels")
    except RelayError:
        return False
    return True


def _disk(settings: Settings) -> Finding:
    place = settings.data_dir.resolve()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    words = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB at {place}"
    if usage.free < LEAST_FREE_BYTES:
        return Finding("disk", False, f"{words}; free at least 1 GB, or set RELAY_DATA_DIR to a larger disk")
    return Finding("disk", True, words)


def _ffmpeg() -> Finding:
    def version() -> str:
        path = program()
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=True, env={})
        return answer.stdout.splitlines()[0]

    return _try("ffmpeg", version)


def _store(settings: Settings) -> Finding:
    if settings.archive.store == "off":
        return Finding("store", True, "off: nothing is archived")

    def read_back() -> str:
        store = make_store(settings)
        check(store)
        return f"{store.where}: an object written was read back"

    return _try("store", read_back)


def _clock() -> Finding:
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < OLDEST_SANE_TIME:
        return Finding("clock", False, f"{shown} cannot be right; set the clock, or recordings are misdated")
    return Finding("clock", True, shown)


def _try(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look())
    except (RelayError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding(check, False, str(error))
