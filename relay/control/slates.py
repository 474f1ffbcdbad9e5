"""Slates as the operator sees them: pictures and clips for holds, tried before they are kept."""

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from pydantic import BaseModel

from relay.control.fields import PATTERNS, SLATE
from relay.errors import ConflictError, InvalidError, NotFoundError
from relay.files import make_directory, sync_directory, write_file
from relay.media import Codec, Track

log = structlog.get_logger("relay.control")

MOST = 100
_SMALL = Track(codec=Codec.H264, width=128, height=72)  # what they are tried for: it takes the least time


class SlateView(BaseModel):
    """A slate: its file's name and size in bytes, and the destinations it is for, as channel/destination."""

    name: str
    size: int
    used_by: list[str]


class SlateList(BaseModel):
    slates: list[SlateView]


class Slates:
    """The files of ``folder``. ``used`` tells (slate, channel/destination) of every destination that has one."""

    def __init__(self, folder: Path, used: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._folder = folder
        self._used = used
        self._changing = asyncio.Lock()

    async def list(self) -> list[SlateView]:
        """Every slate, by name."""
        found = await asyncio.to_thread(self._found)
        return [self._view(name, size) for name, size in sorted(found.items())]

    async def keep(self, name: str, content: bytes) -> SlateView:
        """Try ``content`` in a confined child, then keep it as ``name``, in place of another of that name.

        Raises InvalidError for a name that does not fit, SlateError for a file that cannot be shown, ConflictError
        where there are too many or the disk does not take it. Nothing is changed then.
        """
        from relay.egress.slate_worker import make_slate_apart  # with a codec library, which few need

        check_name(name)
        async with self._changing:  # one decoder at a time
            there = await asyncio.to_thread(self._found)
            if name not in there and len(there) >= MOST:
                raise ConflictError(f"there are {MOST} slates already; remove one that is not used")
            await asyncio.to_thread(make_slate_apart, Path(name), _SMALL, content=content)
            try:
                await asyncio.to_thread(self._write, name, content)
            except OSError as error:
                raise ConflictError(f"the data directory does not take the slate: {error.strerror}") from error
        log.info("slate kept", slate=name, bytes=len(content))
        return self._view(name, len(content))

    async def remove(self, name: str) -> None:
        """Raises NotFoundError, or ConflictError where a destination shows it."""
        check_name(name)
        async with self._changing:
            if name not in await asyncio.to_thread(self._found):
                raise NotFoundError(f"there is no slate {name}")
            users = self._view(name, 0).used_by
            if users:
                raise ConflictError(f"{', '.join(users)} shows {name} while held; choose something else there first")
            try:
                await asyncio.to_thread(self._delete, name)
            except OSError as error:
                raise ConflictError(f"the slate cannot be removed: {error.strerror}") from error
        log.info("slate removed", slate=name)

    def _view(self, name: str, size: int) -> SlateView:
        return SlateView(name=name, size=size, used_by=[where for slate, where in self._used() if slate == name])

    def _found(self) -> dict[str, int]:
        try:
            return {
                path.name: path.stat().st_size
                for path in self._folder.iterdir()
                if re.fullmatch(SLATE, path.name) and path.is_file()
            }
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConflictError(f"the folder of slates cannot be read: {error.strerror}") from error

    def _write(self, name: str, content: bytes) -> None:
        make_directory(self._folder)
        write_file(self._folder / name, content)  # whoever shows it meanwhile sees all of the old one, or of the new

    def _delete(self, name: str) -> None:
        (self._folder / name).unlink()
        sync_directory(self._folder)


def check_name(name: str) -> None:
    """Raises InvalidError for what is no name of a slate."""
    if not name or re.fullmatch(SLATE, name) is None:
        raise InvalidError(f"slate: {PATTERNS[SLATE]}")
