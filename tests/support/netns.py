"""A network of its own for a test phone: a namespace and a link whose address, rate, loss and life the test decides."""

import ctypes
import itertools
import os
import socket
import subprocess
import threading
from types import TracebackType
from typing import Self

_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def run(*words: str) -> None:
    """Run a command; AssertionError with what it said when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"


class Link:
    """A namespace joined to this one by a pair of virtual Ethernet devices. Needs root. Use as a context manager.

    ``host`` is this side's address, as the phone dials it; the phone has one of 250 addresses at a time, on ``device``.
    """

    def __init__(self) -> None:
        number = (os.getpid() * 7 + next(_numbers)) % 16000
        self.name = f"fr{os.getpid()}n{number}"
        self._near, self.device = f"fr{number}a", f"fr{number}b"
        self._net = f"10.{64 + number // 256}.{number % 256}"
        self.host = f"{self._net}.1"
        self.address = ""

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self.device, "netns", self.name)
            run("ip", "addr", "add", f"{self.host}/24", "dev", self._near)
            run("ip", "link", "set", self._near, "up")
            self.inside("ip", "link", "set", "lo", "up")
            self.inside("ip", "link", "set", self.device, "up")
            self.move(10)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        subprocess.run(["ip", "link", "del", self._near], capture_output=True, check=False)
        run("ip", "netns", "del", self.name)

    def inside(self, *words: str) -> None:
        """Run a command in the namespace."""
        run("ip", "netns", "exec", self.name, *words)

    def move(self, last: int) -> None:
        """Another address for the phone, at once. Connections from the old one hear and say nothing any more."""
        if self.address:
            self.inside("ip", "addr", "del", f"{self.address}/24", "dev", self.device)
        self.address = f"{self._net}.{last}"
        self.inside("ip", "addr", "add", f"{self.address}/24", "dev", self.device)

    def cut(self) -> None:
        """No packet passes, in either direction; nobody is told."""
        self.inside("iptables", "-I", "OUTPUT", "-j", "DROP")
        self.inside("iptables", "-I", "INPUT", "-j", "DROP")

    def mend(self) -> None:
        """Packets pass again."""
        self.inside("iptables", "-D", "OUTPUT", "-j", "DROP")
        self.inside("iptables", "-D", "INPUT", "-j", "DROP")

    def slow(self, kbit: int) -> None:
        """The phone sends no faster than this."""
        self.inside(
            "tc", "qdisc", "replace", "dev", self.device, "root", "tbf",
            "rate", f"{kbit}kbit", "burst", "16kb", "latency", "800ms",
        )  # fmt: skip

    def lose(self, share: float) -> None:
        """This share of the phone's packets is lost, at random."""
        self.inside(
            "iptables", "-A", "OUTPUT", "-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"
        )

    def socket(self) -> socket.socket:
        """A TCP socket of the phone's network, for this process."""
        made: list[socket.socket | OSError] = []

        def make() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            try:
                with open(f"/run/netns/{self.name}") as namespace:
                    if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            except OSError as error:
                made.append(error)

        # A namespace is a thread's own: this one takes it along to its end.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        made[0].setblocking(False)
        return made[0]
