"""Init segments that publishers uploaded: kept on disk, since an encoder sends each once and segments for hours."""

import asyncio
import base64
import json
import posixpath
import re
from pathlib import Path

import structlog

from relay.files import make_directory, write_file
from relay.ingest.segment import split_name

MOST = 8  # of one channel
MOST_BYTES = 256 * 1024
_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z0-9])")

log = structlog.get_logger("relay.ingest.hls")


class Inits:
    """The init segments of one channel by the names they came under; the file's name is the channel's."""

    def __init__(self, folder: Path, channel: str) -> None:
        self._path = folder / f"{channel}.json"
        self._inits: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read what an earlier run of the relay wrote."""
        self._inits = await asyncio.to_thread(self._read)

    def _read(self) -> dict[str, bytes]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
            return {str(name): base64.b64decode(text, validate=True) for name, text in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            log.warning("init segments of before cannot be read", file=str(self._path), error=str(error))
            return {}

    async def put(self, name: str, data: bytes) -> None:
        """Keep one, durably; the oldest gives way. Raises OSError."""
        async with self._lock:
            if self._inits.get(name) == data:
                return
            inits = {**{other: kept for other, kept in self._inits.items() if other != name}, name: data}
            while len(inits) > MOST:
                del inits[next(iter(inits))]
            await asyncio.to_thread(self._write, inits)
            self._inits = inits

    def _write(self, inits: dict[str, bytes]) -> None:
        make_directory(self._path.parent)
        text = json.dumps({name: base64.b64encode(data).decode() for name, data in inits.items()})
        write_file(self._path, text.encode())

    def remove(self) -> None:
        """The channel is no more."""
        self._inits.clear()
        self._path.unlink(missing_ok=True)

    def of(self, segment: str, named: str = "") -> bytes:
        """The init segment for ``segment``: the one a playlist ``named``, or the one whose name is most like it.

        In the same folder if there is any, with the most words in common, the newest of several; empty: there is none.
        """
        if named in self._inits:
            return self._inits[named]
        folder, words = posixpath.dirname(segment), _words(segment)
        best: tuple[bool, int] = (False, -1)
        found = b""
        for name, data in self._inits.items():
            likeness = posixpath.dirname(name) == folder, len(words & _words(name))
            if likeness >= best:
                best, found = likeness, data
        return found


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORDS.split(name) if word}


def is_init_name(name: str) -> bool:
    """Whether an upload may be an init segment, by its name alone: encoders number the others."""
    return "init" in name.lower() or (split_name(name)[1] < 0 and name.endswith((".mp4", ".m4s", ".cmfi", ".m4i")))
