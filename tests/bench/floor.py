"""What the kernel alone takes for the same bytes: one read and three writes a channel and tick, and nothing else."""

import multiprocessing
import os
import selectors
import socket
import time
from pathlib import Path

from tests.bench.drain import ADDRESSES
from tests.support.process import Processes

CHANNELS, BYTES_A_SECOND, PACKETS_A_SECOND = 100, 131_000, 77
TICKS_MS = (100, 200)
SECONDS, QUICK_SECONDS = 15.0, 5.0
ROOM = 1 << 18


async def run(processes: Processes, folder: Path, *, quick: bool = False) -> list[tuple[str, str, str]]:
    """The floor under every relay that reads and writes so often, in the terms of the ``relay`` measure."""
    rows = []
    for tick_ms in TICKS_MS:
        cpu = measured(tick_ms / 1000, QUICK_SECONDS if quick else SECONDS)
        what = f"{CHANNELS} channels of 1 Mbit/s to {len(ADDRESSES)} each, every {tick_ms} ms: the kernel's part"
        rows.append((what, f"{100 * cpu / CHANNELS:.3f} % of a core each", ""))
    return rows


def measured(tick_s: float, seconds: float) -> float:
    """Share of a processor that reading and writing takes; phones and drain are processes of their own."""
    context = multiprocessing.get_context("fork")
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as taking,
        socket.create_server(("127.0.0.1", 0), backlog=4096) as giving,
    ):
        drain = context.Process(target=_drain, args=(taking, CHANNELS * len(ADDRESSES)), daemon=True)
        phones = context.Process(target=_phones, args=(giving.getsockname(),), daemon=True)
        drain.start()
        out = [[socket.create_connection(taking.getsockname()) for _ in ADDRESSES] for _ in range(CHANNELS)]
        phones.start()
        channels = [giving.accept()[0] for _ in range(CHANNELS)]
        try:
            return _relay(channels, out, tick_s, seconds)
        finally:
            for process in (phones, drain):
                process.kill()
                process.join()
            for made in (*channels, *(each for three in out for each in three)):
                made.close()


def _relay(channels: list[socket.socket], out: list[list[socket.socket]], tick_s: float, seconds: float) -> float:
    buffer = bytearray(ROOM)
    view = memoryview(buffer)
    for made in (*channels, *(each for three in out for each in three)):
        made.setblocking(False)
    due = time.monotonic()
    used, ends = 0.0, due + seconds
    while due < ends:
        due += tick_s
        time.sleep(max(0.0, due - time.monotonic()))
        before = time.process_time()
        for channel, three in zip(channels, out, strict=True):
            try:
                count = channel.recv_into(buffer)
            except BlockingIOError:
                continue
            for each in three:
                each.send(view[:count])
        used += time.process_time() - before
    return used / seconds


def _phones(address: tuple[str, int]) -> None:
    """Sends each channel as many bytes as a phone does, in as many writes."""
    sockets = [socket.create_connection(address) for _ in range(CHANNELS)]
    data = os.urandom(BYTES_A_SECOND // PACKETS_A_SECOND)
    due = time.monotonic()
    while True:
        for made in sockets:
            made.sendall(data)
        due += 1 / PACKETS_A_SECOND
        time.sleep(max(0.0, due - time.monotonic()))


def _drain(server: socket.socket, count: int) -> None:
    selector = selectors.DefaultSelector()
    for _ in range(count):
        made = server.accept()[0]
        made.setblocking(False)
        selector.register(made, selectors.EVENT_READ)
    buffer = bytearray(ROOM)
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            if not key.fileobj.recv_into(buffer):
                selector.unregister(key.fileobj)
