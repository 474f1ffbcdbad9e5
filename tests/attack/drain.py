"""Where honest streams end: takes them, counts and times each packet: ``python -m tests.attack.drain PORT REPORT``.

SIGUSR1 begins the next period of delays; the report, with a line for each period, is written at SIGTERM.
"""

import json
import selectors
import signal
import socket
import sys
from array import array
from pathlib import Path

from tests.bench.drain import Guest
from tests.bench.figures import percentile

_REPORTED = ("channel", "first", "last", "packets", "missing", "disordered", "damaged", "error")


class Drain:
    """Every connection is read as soon as something comes."""

    def __init__(self, port: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", port), backlog=64)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._guests: list[Guest] = []
        self._buffer = memoryview(bytearray(1 << 18))
        self._periods = [array("q")]
        self._stop = False

    def run(self, report: Path) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: self._periods.append(array("q")))
        signal.signal(signal.SIGTERM, lambda number, frame: self._end())
        while not self._stop:
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
        figures = {
            "connections": [
                {name: getattr(guest, name) for name in _REPORTED} for guest in self._guests if guest.channel >= 0
            ],
            "periods": [_shares(sorted(delays)) for delays in self._periods],
        }
        report.write_text(json.dumps(figures), "utf-8")

    def _end(self) -> None:
        self._stop = True

    def _accept(self) -> None:
        made, _ = self._listening.accept()
        guest = Guest(made, sampled=True)
        self._guests.append(guest)
        self._selector.register(made, selectors.EVENT_READ, guest)

    def _read(self, guest: Guest) -> None:
        try:
            count = guest.socket.recv_into(self._buffer)
            if count:
                guest.receive(self._buffer[:count], self._periods[-1])
                return
        except OSError as error:
            guest.error = str(error)
        self._selector.unregister(guest.socket)
        guest.socket.close()


def _shares(ordered: list[int]) -> dict[str, float]:
    """How many delays there are, and their percentiles in ms."""
    found = {f"p{round(share * 100)}": percentile(ordered, share) / 1e6 for share in (0.5, 0.99)} if ordered else {}
    return {"samples": len(ordered), **found}


if __name__ == "__main__":
    Drain(int(sys.argv[1])).run(Path(sys.argv[2]))
