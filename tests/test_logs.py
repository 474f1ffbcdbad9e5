"""Logs: JSON lines on standard error away from terminals, tracebacks inside, nothing on standard output."""

import json
import subprocess
import sys

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
