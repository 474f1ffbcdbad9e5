"""The forgetful disk as a mounted file system (FUSE): a process of its own, and how tests plug it in and out.

``python -m tests.support.powercut_fs MOUNT IMAGE`` serves the disk in IMAGE until it is unmounted. The extended
attribute ``user.cut`` of its root arms it: the n-th change from then on meets a dead disk, and so does all after it.
"""

import asyncio
import contextlib
import errno
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mfusepy

from tests.support.powercut import Disk, Node
from tests.support.process import Process, Processes

CUT = "user.cut"
_TOP = Path(__file__).parents[2]


class ForgetfulFs(mfusepy.Operations):  # type: ignore[misc]
    """FUSE's questions, answered by a Disk. One thread."""

    use_ns = True

    def __init__(self, image: Path) -> None:
        self._image = image
        self._disk = Disk.load(image)
        self._handles: dict[int, int] = {}
        self._next_handle = 1
        self._left: int | None = None  # changes until the cut
        self._seed = 0
        self._is_dead = False

    def _alive(self) -> None:
        if self._is_dead:
            raise OSError(errno.EIO, "the power is gone")

    def _change(self) -> None:
        """Something is about to change, or to be synced."""
        self._alive()
        if self._left is None:
            return
        if self._left <= 0:
            self._is_dead = True
            self._disk.cut(random.Random(self._seed))
            self._alive()
        self._left -= 1

    def _node(self, path: str | None, fh: int | None) -> tuple[int, Node]:
        number = self._handles[fh] if fh is not None and fh in self._handles else self._disk.find(path or "/")
        return number, self._disk.nodes[number]

    def _handle(self, number: int) -> int:
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._handles[handle] = number
        return handle

    # --- looking ----------------------------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path != "/":
            self._alive()
        number, node = self._node(path, fh)
        size = len(node.data)
        return {
            "st_ino": number, "st_mode": node.mode, "st_nlink": 2 if node.is_directory else node.links,
            "st_uid": node.uid, "st_gid": node.gid, "st_size": size, "st_blocks": (size + 511) // 512,
            "st_atime": node.atime_ns, "st_mtime": node.mtime_ns, "st_ctime": node.mtime_ns,
        }  # fmt: skip

    def readdir(self, path: str, fh: int) -> Iterable[str]:
        self._alive()
        return [".", "..", *self._node(path, None)[1].entries]

    def open(self, path: str, flags: int) -> int:
        self._alive()
        number = self._disk.find(path)
        if flags & os.O_TRUNC:
            self._change()
            self._disk.truncate(number, 0)
        return self._handle(number)

    def opendir(self, path: str) -> int:
        self._alive()
        return self._handle(self._disk.find(path))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._alive()
        return bytes(self._node(path, fh)[1].data[offset : offset + size])

    def release(self, path: str, fh: int) -> int:
        self._handles.pop(fh, None)
        return 0

    def releasedir(self, path: str, fh: int) -> int:
        return self.release(path, fh)

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 20
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 4 * blocks, "f_bfree": blocks, "f_bavail": blocks}

    # --- changing ---------------------------------------------------------------------------------------------------

    def create(self, path: str, mode: int, flags: int) -> int:
        self._change()
        return self._handle(self._disk.make(path, stat.S_IFREG | (mode & 0o7777)))

    def mkdir(self, path: str, mode: int) -> int:
        self._change()
        self._disk.make(path, stat.S_IFDIR | (mode & 0o7777))
        return 0

    def link(self, target: str, source: str) -> int:
        self._change()
        self._disk.link(target, self._disk.find(source))
        return 0

    def unlink(self, path: str) -> int:
        self._change()
        self._disk.remove(path)
        return 0

    def rmdir(self, path: str) -> int:
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        self._change()
        self._disk.rename(old, new)
        return 0

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._change()
        self._disk.write(self._node(path, fh)[0], offset, data)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._change()
        self._disk.truncate(self._node(path, fh)[0], length)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._alive()
        node = self._node(path, None)[1]
        node.mode = stat.S_IFMT(node.mode) | (mode & 0o7777)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        self._alive()
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._alive()
        node = self._node(path, None)[1]
        node.atime_ns, node.mtime_ns = times or (time.time_ns(), time.time_ns())
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._change()
        self._disk.sync(self._node(path, fh)[0])
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        return self.fsync(path, datasync, fh)

    # --- the power --------------------------------------------------------------------------------------------------

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        """``user.cut``: "changes seed"."""
        if path != "/" or name != CUT:
            raise OSError(errno.ENOTSUP, name)
        self._left, self._seed = (int(word) for word in value.split())
        if not self._left:
            with contextlib.suppress(OSError):
                self._change()
        return 0

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        if path != "/" or name != CUT:
            raise OSError(errno.ENODATA, name)
        return b"dead" if self._is_dead else b"alive"

    def destroy(self, path: str) -> None:
        if not self._is_dead:
            self._disk.settle()
        self._disk.save(self._image)


class CutDisk:
    """A forgetful disk below ``folder``, mounted at ``path`` while it is plugged in."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.path = folder / "disk"
        self.path.mkdir(parents=True)
        self._image = folder / "disk.image"
        self._processes = processes
        self._server: Process | None = None

    async def plug_in(self) -> None:
        """Mount what the last cut left."""
        argv = (sys.executable, "-m", "tests.support.powercut_fs", self.path, self._image)
        self._server = self._processes.start(*argv, name="powercut-fs", cwd=_TOP)
        until = time.monotonic() + 30
        while not os.path.ismount(self.path):
            assert self._server.running, self._server.tail()
            assert time.monotonic() < until, self._server.tail()
            await asyncio.sleep(0.02)

    async def cut_after(self, changes: int, seed: int) -> None:
        """The power will go at the change after so many more; 0: now."""
        await asyncio.to_thread(os.setxattr, self.path, CUT, f"{changes} {seed}".encode())

    async def is_cut(self) -> bool:
        return await asyncio.to_thread(os.getxattr, self.path, CUT) == b"dead"

    async def pull_out(self) -> None:
        """Unmount; whoever used it must be gone."""
        assert self._server is not None
        await asyncio.to_thread(subprocess.run, ["umount", str(self.path)], check=True)
        await self._server.done(30)
        self._server = None

    def close(self) -> None:
        """Away with it, whatever state it is in."""
        if self._server is not None:
            self._server.kill()
            self._server = None
        if os.path.ismount(self.path) or _is_stale(self.path):
            subprocess.run(["umount", "-l", str(self.path)], check=True)


def _is_stale(path: Path) -> bool:
    """Mounted by a server that is gone."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


if __name__ == "__main__":
    mfusepy.FUSE(
        ForgetfulFs(Path(sys.argv[2])), sys.argv[1],
        foreground=True, nothreads=True, hard_remove=True, default_permissions=True, fsname="powercut",
    )  # fmt: skip
