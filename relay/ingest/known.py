"""Known: the segments a publisher has sent already, in this run of the relay or an earlier one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence

from relay.hub.batch import Note
from relay.ingest.segment import Key, Outcome, read_note

MOST = 4096  # hours of segments


class Known:
    """Each segment is taken once, however often it is sent; one that failed may be sent again."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._tasks: OrderedDict[Key, asyncio.Task[Outcome]] = OrderedDict()
        self._kept: dict[Key, int] = {}

    def once(
        self, key: Key, take: Callable[[], Coroutine[None, None, Outcome]]
    ) -> "tuple[asyncio.Task[Outcome], bool]":
        """The task that takes the segment, and whether it is there already."""
        task = self._tasks.get(key)
        if task is not None:
            self._tasks.move_to_end(key)
            return task, True
        task = self._tasks[key] = asyncio.create_task(take())
        task.add_done_callback(lambda done: self._taken(key, done))
        return task, False

    def _taken(self, key: Key, task: "asyncio.Task[Outcome]") -> None:
        if task.cancelled() or task.exception() is not None:
            if self._tasks.get(key) is task:
                del self._tasks[key]
            return
        for oldest in list(self._tasks)[: max(0, len(self._tasks) - self._most)]:
            if self._tasks[oldest].done():
                del self._tasks[oldest]

    def learn(self, notes: Sequence[Note]) -> list[Key]:
        """What an earlier run of the relay has on disk; the keys of it, oldest first."""
        found = [(read_note(note.text), note.packets) for note in notes]
        self._kept.update((key, packets) for key, packets in found if key is not None)
        return [key for key, _ in found if key is not None]

    def kept(self, key: Key) -> int | None:
        """How many packets of the segment an earlier run of the relay kept; None where it had none of it."""
        return self._kept.get(key)

    def forget(self) -> None:
        """The stream is over: an encoder that sends the very same again means it."""
        self._kept.clear()
        for key in [key for key, task in self._tasks.items() if task.done()]:
            del self._tasks[key]
