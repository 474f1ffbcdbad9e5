"""Confine: a program that keeps its three pipes and nothing else: no network, no files to write, bounded memory.

Run by itself, without the rest of the relay, it confines its own process and becomes the program it is given.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Sequence

CPU_S = 120  # a child whose relay does not move its limit on ends after this much processor time
NO_NAMESPACE = "confine: no network namespace"
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38


def command(words: Sequence[str], *, memory_bytes: int, open_files: int) -> list[str]:
    """The command line that runs ``words`` confined, with no environment at all."""
    # -S: no site-packages, of which this file needs none; it starts in 15 ms.
    return [sys.executable, "-I", "-S", __file__, str(memory_bytes), str(open_files), *words]


def limit(*, memory_bytes: int, open_files: int, cpu_s: int | None) -> None:
    """Give up, for good: memory beyond the limit, more open files, writing files, core dumps, more rights by exec."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    if cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, resource.RLIM_INFINITY))
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def leave_network() -> str:
    """Move to a network namespace with nothing in it, not even a loopback that is up. What prevents it, if anything.

    Root may; others may where the kernel lets them have a user namespace, which containers often forbid.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):
        if libc.unshare(flags) == 0:
            return ""
    return os.strerror(ctypes.get_errno())


def move_cpu_limit(pid: int, used_s: float) -> None:
    """The child is well: it may go on for CPU_S more of processor time than it has ``used_s``."""
    resource.prlimit(pid, resource.RLIMIT_CPU, (int(used_s) + CPU_S, resource.RLIM_INFINITY))


def main(words: Sequence[str]) -> None:
    """``words``: bytes of memory, open files, and the program with its arguments."""
    missing = leave_network()
    if missing:
        os.write(2, f"{NO_NAMESPACE}: {missing}\n".encode())
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # before the limit, which would be the last one looked at
    limit(memory_bytes=int(words[0]), open_files=int(words[1]), cpu_s=CPU_S)
    os.chdir("/")
    os.execve(words[2], list(words[2:]), {})


if __name__ == "__main__":
    main(sys.argv[1:])
