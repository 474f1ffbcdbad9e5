"""Logs: JSON lines on standard error away from terminals, tracebacks inside, nothing on standard output."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, structlog
from relay.config import LogSettings
from relay.logs import setup_logs
from relay.secret import Secret
setup_logs(LogSettings(level={level!r}, format={format!r}))
log = structlog.get_logger("test")
log.debug("small")
log.info("hello", key=Secret("hunter2"))
def fail(key):
    1 / 0
try:
    fail("hunt" + "er2")
except ZeroDivisionError:
    log.exception("broken")
logging.getLogger("some.library").warning("from %s", "outside")
logging.getLogger("some.library").info("chatter")
"""


def run(level: str, form: str) -> str:
    command = [sys.executable, "-c", SCRIPT.format(level=level, format=form)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    assert "hunter2" not in done.stderr, "neither by itself nor as what a frame of a traceback holds"
    return done.stderr


FORGED = """
import logging, structlog
from relay.config import LogSettings
from relay.logs import setup_logs
setup_logs(LogSettings(level="debug", format={format!r}))
nasty = 'x' + chr(10) + '{{"event": "forged"}}' + ''.join(map(chr, (13, 27, 0x85, 0x2028, 0x202e))) + '[2J'
structlog.get_logger("test").info("said " + nasty, reason=nasty)
logging.getLogger("some.library").warning("from %s", nasty)
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_a_stranger_says_makes_no_line_of_its_own(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGED.format(format=form)], capture_output=True, timeout=60, check=True
    )
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 2, lines
    assert not [line for line in lines if line.startswith('{"event": "forged') or "\x85" in line]
    assert b"\r" not in done.stderr
    assert all("\u202e" not in line for line in lines)


def test_lines_of_json() -> None:
    lines = [json.loads(line) for line in run("info", "auto").splitlines()]
    assert [line["event"] for line in lines] == ["hello", "broken", "from outside"]
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert lines[2]["logger"] == "some.library"
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_levels_and_readable_form() -> None:
    assert len(run("error", "json").splitlines()) == 1
    assert "small" in run("debug", "json")
    shown = run("info", "console")
    assert not shown.startswith("{")
    assert "ZeroDivisionError" in shown


LEAKS = """
import asyncio, gc, logging, sys, threading, warnings, structlog
from relay.config import LogSettings
from relay.logs import setup_logs
from relay.redaction import known
from relay.secret import Secret
setup_logs(LogSettings(level="debug", format={format!r}))
log = structlog.get_logger("test")
kept = known.know(Secret("the-very-secret-key"))
key = kept.reveal()
url = "rtmp://u:pass-word@h/live?signature=0123456789"
log.info("dialled " + key, url=url, many=[key, {{"k": key}}], other=("x", key), error=ValueError(key))
class Leaking:
    def __del__(self):
        raise ValueError(key)
def fail():
    raise ValueError("cannot dial " + url + " with " + key)
try:
    fail()
except ValueError:
    log.exception("broken")
    logging.getLogger("some.library").exception("in a library, %s", key)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
leaking = Leaking()
del leaking
gc.collect()
warnings.warn("deprecated " + key)
async def main():
    task = asyncio.create_task(asyncio.to_thread(fail))
    await asyncio.wait([task])
    del task
    gc.collect()
asyncio.run(main())
fail()
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_in_any_line_whoever_wrote_it(form: str) -> None:
    """Not in words, values, tracebacks, a library's, a thread's, nor in what ends the process."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", LEAKS.format(format=form)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    for secret in ("the-very-secret-key", "pass-word", "0123456789"):
        assert secret not in done.stdout + done.stderr, done.stderr
    told = ("broken", "in a library", "a thread failed", "could not be raised", "deprecated", "never retrieved")
    for words in (*told, "the relay failed"):
        assert words in done.stderr, words
    assert done.stderr.count("ValueError: cannot dial") >= 5
    if form == "json":
        assert all(json.loads(line) for line in done.stderr.splitlines()), "nothing but lines"


GIVEN_UP = """
import asyncio, gc, ssl
import uvloop
from relay.config import LogSettings
from relay.logs import setup_logs, unheard
setup_logs(LogSettings(level="info", format="json"))
async def fail():
    raise ConnectionError("of a task")
async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unheard)
    connecting = loop.create_future()  # as the loop has one for each handshake
    connecting.set_exception(ssl.SSLError(1, "wrong version number"))
    other = loop.create_future()
    other.set_exception(ValueError("of a future"))
    task = loop.create_task(fail())
    await asyncio.sleep(0.01)
    del connecting, other, task
    gc.collect()
uvloop.run(main())
"""


def test_a_handshake_that_fails_as_it_is_given_up_is_no_fault_of_ours() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_UP], capture_output=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.decode().splitlines()]
    (given_up,) = [line for line in lines if line["event"] == "a connection failed that was given up"]
    assert "wrong version number" in given_up["reason"]
    assert "exception" not in given_up
    told = sorted(line["exception"].splitlines()[-1] for line in lines if "exception" in line)
    assert told == ["ConnectionError: of a task", "ValueError: of a future"], "other faults are told as they were"
