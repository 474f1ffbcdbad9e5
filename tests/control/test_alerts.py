"""Alerts: a fact is told once when it begins and once when it ends."""

from pathlib import Path
from typing import Any

import pytest

from relay.app import App
from relay.config import Settings
from relay.control.alerts import Alerts
from relay.database import GapRow
from relay.egress.base import DestinationState, DestinationStatus
from relay.hooks.hooks import Hooks
from relay.hub import Hub
from tests.support.app import running_app


class Told(Hooks):
    """Hooks that only remember."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(Settings(data_dir=data_dir))
        self.told: list[tuple[str, str | None, dict[str, Any]]] = []

    def tell(self, name: str, channel: str | None = None, **data: object) -> None:
        self.told.append((name, channel, data))

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.told]


def status(name: str, state: DestinationState, error: str = "") -> DestinationStatus:
    return DestinationStatus(name=name, platform="custom", url="rtmp://h/a", state=state, last_error=error)


async def test_a_destination_fails_once_and_recovers_once(tmp_path: Path) -> None:
    hooks = Told(tmp_path)
    now: list[DestinationStatus] = []
    alerts = Alerts(hooks, Hub(), None, lambda: ("talk",), lambda _: now)
    states = DestinationState
    for state in (states.CONNECTING, states.RETRYING, states.CONNECTING, states.RETRYING, states.LIVE, states.LIVE):
        now[:] = [status("a", state, "refused")]
        alerts.look()
    assert hooks.told == [
        ("destination.failed", "talk", {"destination": "a", "platform": "custom", "reason": "refused"}),
        ("destination.recovered", "talk", {"destination": "a", "platform": "custom"}),
    ]
    for state in (states.RETRYING, states.IDLE, states.LIVE):  # the stream ended meanwhile: a new one is no recovery
        now[:] = [status("a", state)]
        alerts.look()
    assert hooks.names[2:] == ["destination.failed"]
    now[:] = [status("a", states.RETRYING)]
    alerts.look()
    now.clear()
    alerts.look()
    now[:] = [status("a", states.LIVE)]
    alerts.look()
    assert hooks.names[3:] == ["destination.failed"]


async def test_an_archive_at_risk_is_told_once_and_so_is_its_rescue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Told(tmp_path)
    async with running_app(tmp_path) as app:
        archive = app.archive
        assert archive is not None
        alerts = Alerts(hooks, Hub(), archive, tuple, lambda _: [])
        monkeypatch.setattr(type(archive.disk), "reserve", 0)
        alerts.look()
        assert hooks.told == []
        monkeypatch.setattr(archive, "oldest_unstored_s", lambda: 61.0)
        alerts.look()
        alerts.look()
        [(name, channel, data)] = hooks.told
        assert (name, channel) == ("archive.at_risk", None)
        assert data == {"problems": ["segments wait for the object store, the oldest for 61 s"]}
        monkeypatch.setattr(archive, "oldest_unstored_s", lambda: 0.0)
        alerts.look()
        alerts.look()
        assert hooks.names == ["archive.at_risk", "archive.safe"]
        await archive.disk.check()
        monkeypatch.setattr(type(archive.disk), "reserve", archive.disk.space.free * 2 // 3)
        alerts.look()
        assert "nearly full" in str(hooks.told[-1][2]["problems"])


async def test_gaps_are_told_as_they_are_written(tmp_path: Path) -> None:
    hooks = Told(tmp_path)
    async with running_app(tmp_path) as app:
        await gap(app, hooks)
    [(name, channel, data)] = hooks.told
    assert (name, channel) == ("recording.gap", "talk")
    assert data == {"recording": "r1", "start_s": 1.5, "length_s": 2.25, "reason": "link lost"}


async def gap(app: App, hooks: Told) -> None:
    """The archive writes one down, in the way the archive's own code calls it."""
    assert app.archive is not None
    Alerts(hooks, Hub(), app.archive, tuple, lambda _: [])
    app.archive._lines.gap_written("talk", "r1", GapRow(start_ms=1500, length_ms=2250, reason="link lost"))
