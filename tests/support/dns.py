"""A real name server for tests, and a network of its own for a program that is to ask it: namespaces, as root."""

import asyncio
import ipaddress
import shlex
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_A, _AAAA = 1, 28
_SERVFAIL, _NXDOMAIN = 2, 3
SILENT = ("silent",)
"""In place of addresses: the question gets no answer."""


class NameServer(asyncio.DatagramProtocol):
    """Answers A and AAAA (RFC 1035) on 127.0.0.1:53. ``names``: the addresses of a name, one list for each time it is
    asked (both kinds of address together are one time; the last list stays). ``asked`` counts the questions."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.names = {name.rstrip(".").lower(): list(lists) for name, lists in names.items()}
        self.asked: Counter[str] = Counter()
        self._times: Counter[tuple[str, int]] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 53))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        answer = self._answer(data)
        if answer is not None:
            self._transport.sendto(answer, addr)

    def _answer(self, question: bytes) -> bytes | None:
        labels, at = [], 12
        while size := question[at]:
            labels.append(question[at + 1 : at + 1 + size].decode("ascii", "replace"))
            at += size + 1
        (kind,) = struct.unpack_from(">H", question, at + 1)
        name = ".".join(labels).lower()
        self.asked[name] += 1
        lists = self.names.get(name)
        if lists is None:
            return _packet(question, at + 5, [], _NXDOMAIN)
        turn = min(self._times[name, kind], len(lists) - 1)
        self._times[name, kind] += 1
        if tuple(lists[turn]) == SILENT:
            return None
        addresses = [ipaddress.ip_address(text) for text in lists[turn]]
        version = {_A: 4, _AAAA: 6}.get(kind)
        return _packet(question, at + 5, [item.packed for item in addresses if item.version == version], 0)


def _packet(question: bytes, end: int, found: list[bytes], code: int) -> bytes:
    head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0)
    records = [
        b"\xc0\x0c" + struct.pack(">HHIH", _A if len(item) == 4 else _AAAA, 1, 0, len(item)) + item for item in found
    ]
    return head + question[12:end] + b"".join(records)


def own_network(folder: Path, *words: str | Path, addresses: Iterable[str] = ()) -> list[str]:
    """The command line that runs ``words`` where there is nothing but itself: a loopback that has ``addresses`` too,
    and a resolv.conf that names 127.0.0.1. Needs root."""
    resolver, hosts = folder / "resolv.conf", folder / "hosts"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:5 attempts:2\n", "utf-8")
    hosts.write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n", "utf-8")
    steps = ["ip link set lo up"]
    for text in addresses:
        bits = ipaddress.ip_address(text).max_prefixlen
        steps.append(f"ip addr add {text}/{bits} dev lo{' nodad' if bits == 128 else ''}")
    steps += [f"mount --bind {resolver} /etc/resolv.conf", f"mount --bind {hosts} /etc/hosts"]
    steps.append("exec " + shlex.join(str(word) for word in words))
    return ["unshare", "--net", "--mount", "sh", "-ec", "\n".join(steps)]
