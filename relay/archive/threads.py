"""Threads for what may never come back, such as a request to a dead store: the process ends without them."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class LooseThreads(Executor):
    """Up to ``count`` threads, begun as they are needed. A ThreadPoolExecutor would be waited for at exit."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], None]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> "Future[Result]":
        """Have ``fn(*args, **kwargs)`` done. Raises RuntimeError after ``shutdown``."""
        future: Future[Result] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the result is told
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                raise RuntimeError(f"the {self._name} threads have been shut down")
            self._work.put((future, work))
            if len(self._threads) < self._count:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; what waits is done, or given up with ``cancel_futures``."""
        with self._lock:
            self._closed = True
            while cancel_futures:
                try:
                    waiting = self._work.get_nowait()
                except Empty:
                    break
                if waiting is not None:
                    waiting[0].cancel()
            for _ in self._threads:
                self._work.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            item[1]()
