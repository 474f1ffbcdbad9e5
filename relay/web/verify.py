"""Verify from the console: a recording is read back from the store and checked against its manifest, one at a time."""

import asyncio
from typing import Literal

import structlog
from aiohttp import web
from pydantic import BaseModel

from relay.archive.archive import Archive
from relay.archive.threads import LooseThreads
from relay.archive.verify import Verdict
from relay.control.users import Role
from relay.errors import RelayError
from relay.web.api import answer
from relay.web.pages import size, span
from relay.web.playback import opened
from relay.web.routes import Route

log = structlog.get_logger("relay.web")

SHOWN = 20  # problems
REMEMBERED = 50  # results


class CheckView(BaseModel):
    """How a check of a recording goes, or went. ``done`` of ``total``: objects."""

    state: Literal["none", "waiting", "running", "good", "bad", "unknown"]
    done: int = 0
    total: int = 0
    words: str = ""
    problems: list[str] = []


class Checks:
    """Handlers that start a check, and tell of the last one. Results are kept until the relay stops."""

    def __init__(self, archive: Archive | None) -> None:
        self._archive = archive
        self._threads = LooseThreads(1, "verify")
        self._views: dict[str, CheckView] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """They must come before the route of plain files."""
        path = "/api/v1/recordings/{id}/verify"
        return [
            Route(
                method="POST", path=path, handler=self.start_check, status=202, answer=CheckView,
                summary="Read the recording back from the store and check it against its signed manifest",
            ),
            Route(
                method="GET", path=path, handler=self.get_check, role=Role.VIEWER, answer=CheckView,
                summary="How the check goes, or how the last one went",
            ),
        ]  # fmt: skip

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def view(self, recording: str) -> CheckView:
        return self._views.get(recording, CheckView(state="none"))

    async def get_check(self, request: web.Request) -> web.Response:
        return answer(self.view(request.match_info["id"]))

    async def start_check(self, request: web.Request) -> web.Response:
        archive = opened(self._archive)
        row, _, _ = await archive.library.parts_of(request.match_info["id"])
        if self.view(row.id).state not in ("waiting", "running"):
            finished = [name for name, view in self._views.items() if view.state not in ("waiting", "running")]
            for name in finished[: max(0, len(self._views) - REMEMBERED)]:
                del self._views[name]
            self._views[row.id] = CheckView(state="waiting", words="waits for another check to end")
            task = asyncio.create_task(self._check(archive, row.id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return answer(self.view(row.id), 202)

    async def _check(self, archive: Archive, recording: str) -> None:
        def progress(done: int, total: int) -> None:
            self._views[recording] = CheckView(state="running", done=done, total=total)

        try:
            row, _, _ = await archive.library.parts_of(recording)
            work = asyncio.get_running_loop().run_in_executor(
                self._threads, archive.library.verify, row, archive.signer.public, progress
            )
            self._views[recording] = _told(await work)
        except (RelayError, OSError) as error:
            self._views[recording] = CheckView(state="unknown", words=str(error))
        log.info("recording checked", recording=recording, result=self._views[recording].state)


def _told(verdict: Verdict) -> CheckView:
    problems = [str(problem) for problem in verdict.problems]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        words = "This is not what was recorded."
        return CheckView(state="bad", words=words, problems=[*problems[:SHOWN], *more])
    words = f"All of it is as it was recorded: {size(verdict.checked_bytes)}, {span(verdict.media_ms / 1000)} of media"
    if verdict.gap_ms:
        words += f", {span(verdict.gap_ms / 1000)} missing as the manifest says"
    return CheckView(state="good", words=f"{words}.")
