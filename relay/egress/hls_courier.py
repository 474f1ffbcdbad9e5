"""Courier: brings the segments of one lane to one place, one request at a time, each until it is accepted."""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import aiohttp
import structlog
from yarl import URL

from relay.config import LimitSettings
from relay.egress.base import DestinationConfig
from relay.egress.hls_queue import Lane, Segment
from relay.egress.hls_upload import upload
from relay.errors import DestinationError, DestinationRejectedError
from relay.supervise import Backoff

PLAYLIST = "index.m3u8"
TROUBLE_S = 3.0  # a request that fails for this long is no hiccup
STALLS = 3  # a request may take this many times write_stall_s, whatever the platform does meanwhile
log = structlog.get_logger("relay.egress.hls")


class Sender(Protocol):
    """The attempt a courier works for. ``is_made``: nothing new comes; ``is_followed``: another attempt takes over."""

    @property
    def is_made(self) -> bool: ...

    @property
    def is_followed(self) -> bool: ...

    def sent(self, count: int) -> None:
        """So many bytes were handed over."""

    def live(self, lane: Lane) -> None:
        """Something was accepted."""

    def troubled(self, lane: Lane, error: DestinationError) -> None:
        """Something was not, and is tried again."""


class Courier:
    """``address`` gives the URL of a file. The playlist follows each segment and names accepted ones only.

    The second lane is a backup's: what refuses it for good ends nothing, it is asked again after a while.
    """

    def __init__(
        self,
        lane: Lane,
        address: Callable[[str], URL],
        config: DestinationConfig,
        session: aiohttp.ClientSession,
        limits: LimitSettings,
        sender: Sender,
        *,
        channel: str,
        is_backup: bool = False,
    ) -> None:
        self.lane = lane
        self._address = address
        self._config = config
        self._session = session
        self._within_s = limits.write_stall_s * STALLS
        self._backoff = Backoff(limits.retry_first_s, limits.retry_most_s, max(30.0, limits.retry_most_s))
        self._sender = sender
        self._is_backup = is_backup
        self._log = log.bind(channel=channel, destination=config.name)
        self._is_live = False
        self._is_in_trouble = False

    async def run(self) -> None:
        """Until everything is delivered and the playlist ended, or the next attempt takes over.

        Raises DestinationRejectedError when the place refuses for good, unless it is a backup.
        """
        lane, sender = self.lane, self._sender
        while not self._is_relieved:
            if lane.queue:
                if await self._bring(lane.queue[0]) and not self._is_last:
                    await self._send(PLAYLIST, lane.playlist(), lambda: not self._is_relieved)
            elif sender.is_made:
                if lane.has_playlist:
                    await self._send(PLAYLIST, lane.playlist(is_over=True), lambda: not self._is_relieved)
                    lane.over()
                return
            else:
                lane.changed.clear()
                await lane.changed.wait()

    @property
    def _is_relieved(self) -> bool:
        return self._sender.is_made and self._sender.is_followed

    @property
    def _is_last(self) -> bool:
        return self._sender.is_made and not self.lane.queue

    async def _bring(self, segment: Segment) -> bool:
        """Whether ``segment``, the head of the queue, was accepted; it may also become too old meanwhile."""
        lane = self.lane

        def is_wanted() -> bool:
            return bool(lane.queue) and lane.queue[0] is segment and not self._is_relieved

        if not await self._send(segment.name, segment.data, is_wanted, segment):
            return False
        lane.accepted()
        return True

    async def _send(
        self, name: str, data: bytes, is_wanted: Callable[[], bool], segment: Segment | None = None
    ) -> bool:
        """Send the same bytes again and again while ``is_wanted()``. True: they were accepted."""
        lane, clock = self.lane, asyncio.get_running_loop().time
        began, failures = clock(), 0
        while is_wanted():
            lane.sending = segment
            try:
                await upload(self._session, self._config.method, self._address(name), data, self._within_s)
            except DestinationError as error:
                is_rejected = isinstance(error, DestinationRejectedError)
                if is_rejected and not self._is_backup:
                    raise
                failures += 1
                if not self._is_live or is_rejected or clock() - began >= TROUBLE_S:
                    self._tell(error)
                wait_s = self._backoff.wait_s(failures, rejected=is_rejected, uniform=random.uniform)
                lane.sending = None
                await asyncio.sleep(max(error.retry_after_s, wait_s))
            else:
                self._sender.sent(len(data))
                self._sender.live(lane)
                self._is_live, self._is_in_trouble = True, False
                return True
            finally:
                lane.sending = None
        return False

    def _tell(self, error: DestinationError) -> None:
        if self._is_backup and not self._is_in_trouble:
            self._log.warning("backup in trouble", reason=str(error))
        self._is_live, self._is_in_trouble = False, True
        self._sender.troubled(self.lane, error)
