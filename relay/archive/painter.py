"""Painter: thumbnails made in a confined child: what a keyframe does to a decoder costs that child and nothing else."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from struct import Struct

from relay import confine
from relay.errors import MediaError
from relay.media import Packet

SIZES = Struct("!II")  # of what is told as JSON (asked) or of an error (answered), and of what follows
MEMORY_BYTES = 2 * 1024**3  # of addresses; the largest picture there may be takes a third of it
OPEN_FILES = 16  # none but while modules are loaded
WITHIN_S = 15.0
IDLE_S = 20.0
_CHILD = ("-I", "-m", "relay.archive.thumbnail_worker")
_MOST_ANSWER = 4 * 1024 * 1024


class _DiedError(Exception):
    """The child is gone, or says what no child of ours says."""


class _Child:
    """One process; asked for one picture at a time."""

    def __init__(self) -> None:
        words = [sys.executable, *_CHILD]
        self.process = subprocess.Popen(
            confine.command(words, memory_bytes=MEMORY_BYTES, open_files=OPEN_FILES),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, start_new_session=True,
        )  # fmt: skip
        self.served = 0

    def ask(self, head: bytes, data: bytes) -> tuple[bytes, bytes]:
        """(Why there is no picture, the picture): one of them is empty. Raises _DiedError."""
        out, back = self.process.stdin, self.process.stdout
        assert out is not None
        assert back is not None
        try:
            out.write(SIZES.pack(len(head), len(data)) + head)
            out.write(data)
            out.flush()
            sizes = back.read(SIZES.size)
            if len(sizes) < SIZES.size:
                raise _DiedError("it died")
            words, picture = (back.read(min(size, _MOST_ANSWER)) for size in SIZES.unpack(sizes))
        except OSError as error:
            raise _DiedError("it died") from error
        if (len(words), len(picture)) != SIZES.unpack(sizes) or bool(words) == bool(picture):
            raise _DiedError("its answer makes no sense")
        self.served += 1
        return words, picture

    def kill(self) -> None:
        """End it and whatever it may have started, from any thread: who waits for its answer learns that it died."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it, now, and reap it."""
        self.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # something for it may still be in there
                pipe.close()


class Painter:
    """One child for all recordings, started when there is a keyframe and ended when there was none for a while.

    ``every_s``: how far apart a recording's pictures are, in media time; 0: there are none. ``within_s``: what the
    child has for one of them, and ``idle_s`` until it is ended. For threads, which wait for each other.
    """

    def __init__(self, every_s: float, *, within_s: float = WITHIN_S, idle_s: float = IDLE_S) -> None:
        self.every_s = every_s
        self._within_s = within_s
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._retirement: threading.Timer | None = None

    def jpeg(self, packet: Packet, *, width: int = 320) -> bytes:
        """As ``thumbnails.jpeg``. Blocks for some milliseconds; when a child has to be started, for some hundred."""
        track = packet.track
        told = {"codec": track.codec, "width": track.width, "height": track.height, "header": track.header.hex()}
        head = json.dumps({**told, "is_keyframe": packet.is_keyframe, "at_most": width}).encode()
        with self._lock:
            if self._retirement is not None:
                self._retirement.cancel()
            words, picture = self._ask(head, packet.data)
            self._retirement = threading.Timer(self._idle_s, self._retire)
            self._retirement.daemon = True
            self._retirement.start()
        if words:
            raise MediaError(words.decode("utf-8", "replace")[:500])
        return picture

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._retirement is not None:
                self._retirement.cancel()
            self._bury()

    def _ask(self, head: bytes, data: bytes) -> tuple[bytes, bytes]:
        while True:
            try:
                child = self._child = self._child or _Child()
            except OSError as error:
                return f"no picture can be made: {error.strerror}".encode(), b""
            has_served = child.served > 0
            watchdog = threading.Timer(self._within_s, child.kill)
            watchdog.start()
            try:
                return child.ask(head, data)
            except _DiedError as error:
                took_too_long = not watchdog.is_alive()
                self._bury()
                if took_too_long:
                    return f"a picture that takes more than {self._within_s:g} s".encode(), b""
                if not has_served:
                    return f"this keyframe breaks the decoder: {error}".encode(), b""
                # What came before may have killed it: this one gets a child of its own.
            finally:
                watchdog.cancel()

    def _retire(self) -> None:
        with self._lock:
            if self._retirement is threading.current_thread():
                self._bury()

    def _bury(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
