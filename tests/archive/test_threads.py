"""Loose threads do as they are told, tell what went wrong, and hold up no end of the process."""

import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from relay.archive.threads import LooseThreads


def test_results_and_errors_come_back() -> None:
    threads = LooseThreads(2, "loose")
    futures: list[Future[int]] = [threads.submit(pow, number, 2) for number in range(20)]
    assert [future.result(10) for future in futures] == [number**2 for number in range(20)]
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(10)
    assert threads.submit(len, "still there").result(10) == 11
    threads.shutdown()
    with pytest.raises(RuntimeError, match="loose threads have been shut down"):
        threads.submit(len, "x")


def test_as_many_at_once_as_there_are_threads() -> None:
    threads = LooseThreads(3, "loose")
    together = threading.Barrier(3)
    assert sorted(future.result(10) for future in [threads.submit(together.wait, 10) for _ in range(3)]) == [0, 1, 2]
    threads.shutdown()


@pytest.mark.parametrize("give_up", [False, True])
def test_shutdown_does_what_waits_or_gives_it_up(give_up: bool) -> None:
    threads = LooseThreads(1, "loose")
    going, go_on = threading.Event(), threading.Event()

    def wait() -> bool:
        going.set()
        return go_on.wait(10)

    first = threads.submit(wait)
    assert going.wait(10)
    second = threads.submit(len, "waiting")
    threads.shutdown(wait=False, cancel_futures=give_up)
    go_on.set()
    assert first.result(10)
    if give_up:
        assert second.cancelled()
    else:
        assert second.result(10) == 7


def test_the_process_ends_without_them() -> None:
    program = (
        "import time\n"
        "from relay.archive.threads import LooseThreads\n"
        "LooseThreads(1, 'loose').submit(time.sleep, 300)\n"
        "time.sleep(0.2)\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert time.monotonic() - started < 60
