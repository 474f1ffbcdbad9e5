"""The audit log: private, on the disk when it is said, turned over by size, whole after a crash, no secret in it."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
import structlog

from relay.audit import REFUSALS, AuditLog
from relay.redaction import known
from relay.secret import Secret


class Clock:
    """The test's own time, in unix seconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_an_entry_says_who_what_and_from_where(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "new", clock=Clock())
    await log.note("anna", "channel changed", address="192.0.2.1", via="console", channel="talk", fields=["stream_key"])
    line = (tmp_path / "new" / "audit.jsonl").read_text()
    assert json.loads(line) == {
        "at": "2027-01-15T08:00:00.000Z", "who": "anna", "action": "channel changed", "address": "192.0.2.1",
        "via": "console", "about": {"channel": "talk", "fields": "stream_key"},
    }  # fmt: skip
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert [entry.action for entry in await log.last(10)] == ["channel changed"]


async def test_a_secret_that_comes_along_is_covered_up_and_lines_stay_lines(tmp_path: Path) -> None:
    kept = known.know(Secret("a-secret-in-a-name"))
    log = AuditLog(tmp_path)
    await log.note("an\nna", "x", where="rtmp://u:p@h/a-secret-in-a-name", long="y" * 1000)
    assert len(log.path.read_text().splitlines()) == 1
    assert kept.reveal() not in log.path.read_text()
    (entry,) = await log.last(1)
    assert entry.about["where"] == "rtmp://********@h/********"
    assert (entry.who, len(entry.about["long"])) == ("an na", 300)


async def test_it_is_turned_over_by_size_and_read_across_files(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, most_bytes=1000, kept=2)
    for number in range(60):
        await log.note("anna", f"step {number}")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    found = [entry.action for entry in await log.last(25)]
    assert found == [f"step {number}" for number in range(59, 34, -1)]
    assert len(await log.last(1000)) < 60
    assert [entry.action for entry in await AuditLog(tmp_path).last(2)] == ["step 59", "step 58"]


async def test_what_a_crash_cut_off_harms_nothing_else(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    await log.note("anna", "before")
    with log.path.open("ab") as file:
        file.write(b'{"at": "2027-01-15T08:00:00Z", "who": "an')
    await log.note("anna", "after")
    assert [entry.action for entry in await log.last(10)] == ["after", "before"]


async def test_strangers_fill_nothing_and_are_counted(tmp_path: Path) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, clock=clock)
    for _ in range(REFUSALS + 500):
        await log.refused("unknown", "sign-in refused", address="192.0.2.1")
    await log.note("anna", "signed in")
    assert len(await log.last(1000)) == REFUSALS + 1
    clock.now += 61
    await log.refused("unknown", "sign-in refused")
    assert (await log.last(1))[0].about == {"others_not_written": "500"}


async def test_a_disk_that_refuses_is_told_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path)

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with structlog.testing.capture_logs() as logs:
        await log.note("anna", "channel deleted")
    assert log.failures == 1
    assert [(entry["log_level"], entry["action"]) for entry in logs] == [("error", "channel deleted")]


def test_it_can_be_written_without_a_loop(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.say("command line", "catalog rebuilt", count=2, nothing=None, really=True)
    assert log.read(1)[0].about == {"count": "2", "really": "yes"}
