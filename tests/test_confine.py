"""Confined programs: what they find themselves with, as a user that may make namespaces and as one that may not."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relay import confine

LOOK = """
import json, os, resource, socket, subprocess
def attempt(act):
    try:
        act()
    except (OSError, MemoryError, subprocess.SubprocessError) as error:
        return type(error).__name__ + ": " + str(getattr(error, "strerror", ""))
    return "done"
kinds = ("AS", "FSIZE", "CORE", "NOFILE", "CPU")
print(json.dumps({
    "environ": dict(os.environ),
    "fds": [fd for fd in sorted(map(int, os.listdir("/proc/self/fd"))) if os.path.exists(f"/proc/self/fd/{fd}")],
    "devices": [name for _, name in socket.if_nameindex()],
    "limits": {kind: resource.getrlimit(getattr(resource, "RLIMIT_" + kind)) for kind in kinds},
    "rights": [line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")],
    "dial": attempt(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
    "write": attempt(lambda: open("/tmp/confined-PORT", "wb", 0).write(b"x")),
    "memory": attempt(lambda: bytearray(400_000_000)),
    "files": attempt(lambda: [open("/dev/null") for _ in range(40)]),
    "cwd": os.getcwd(),
}))
"""


def look(wrap: Callable[[list[str]], list[str]] = list, *, dials: bool = False) -> tuple[dict[str, object], str]:
    """What a confined Python says of itself, and what is on standard error."""
    with socket.create_server(("127.0.0.1", 0)) as listening, open("/dev/null") as extra:
        script = LOOK.replace("PORT", str(listening.getsockname()[1]))
        high = fcntl.fcntl(extra, fcntl.F_DUPFD, 100)  # above the limit the child gives itself
        words = confine.command([sys.executable, "-I", "-c", script], memory_bytes=300_000_000, open_files=20)
        done = subprocess.run(
            wrap(words), capture_output=True, check=True, timeout=30, pass_fds=[extra.fileno(), high],
            env={"RELAY_SECRET": "canary-1", "AWS_SECRET_ACCESS_KEY": "canary-2"},
        )  # fmt: skip
        os.close(high)
        listening.setblocking(False)
        with contextlib.nullcontext() if dials else pytest.raises(BlockingIOError):
            listening.accept()[0].close()
        Path(f"/tmp/confined-{listening.getsockname()[1]}").unlink()
    return json.loads(done.stdout), done.stderr.decode()


def check(found: dict[str, object]) -> None:
    most = resource.RLIM_INFINITY
    assert found["limits"] == {
        "AS": [300_000_000, 300_000_000],
        "FSIZE": [0, 0],
        "CORE": [0, 0],
        "NOFILE": [20, 20],
        "CPU": [confine.CPU_S, most],
    }
    assert "canary" not in str(found["environ"])
    assert found["fds"] == [0, 1, 2]
    assert found["rights"] == ["1"]
    assert found["cwd"] == "/"
    assert str(found["memory"]).startswith("MemoryError")
    assert str(found["files"]).startswith("OSError: Too many open files")
    assert found["write"] == "OSError: File too large"


def test_root_gives_a_child_no_network() -> None:
    found, words = look()
    check(found)
    assert found["devices"] == ["lo"]
    assert found["dial"] == "OSError: Network is unreachable"
    assert not words


def test_so_may_whoever_has_no_rights_where_the_kernel_lets_it() -> None:
    found, words = look(lambda command: ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command])
    check(found)
    assert found["devices"] == ["lo"]
    assert not words


def test_who_may_make_no_namespace_says_so_and_keeps_all_other_limits() -> None:
    """As in most containers: root in all but the right to, and no user namespaces left."""
    forbid = (
        "import ctypes, os, sys\nopen('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "assert ctypes.CDLL(None).prctl(24, 21, 0, 0, 0) == 0  # the capability bounding set, CAP_SYS_ADMIN\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    outer = ["unshare", "--user", "--map-root-user", sys.executable, "-c", forbid]
    found, words = look(lambda command: [*outer, *command], dials=True)
    check(found)
    assert found["dial"] == "done", "the host's network is still there: hence the list of protocols"
    assert words.startswith(f"{confine.NO_NAMESPACE}: "), words
    assert words.count("\n") == 1


def test_a_child_that_spins_without_a_relay_ends() -> None:
    words = confine.command([sys.executable, "-I", "-c", "while True: pass"], memory_bytes=300_000_000, open_files=20)
    with subprocess.Popen(words, stderr=subprocess.PIPE) as child:
        soon = resource.RLIM_INFINITY
        deadline = 200
        while resource.prlimit(child.pid, resource.RLIMIT_CPU) != (confine.CPU_S, soon):
            deadline -= 1
            assert deadline, "no limit"
            signal.sigtimedwait([], 0.05)
        confine.move_cpu_limit(child.pid, 1 - confine.CPU_S)  # as if it had nearly used it up
        assert resource.prlimit(child.pid, resource.RLIMIT_CPU) == (1, soon)
        assert child.wait(60) == -signal.SIGXCPU
