"""Doctor: every check looks at the real thing, and says what to do where it fails."""

import socket
from pathlib import Path
from typing import Any

from relay.config import Settings
from relay.doctor import examine


def settings(tmp_path: Path, **more: Any) -> Settings:
    anywhere = {"listen": "127.0.0.1:0"}
    values = {"data_dir": tmp_path, "rtmp": anywhere, "ingest_http": anywhere, "http": anywhere, **more}
    return Settings.model_validate(values)


def test_a_healthy_machine_passes_every_check(tmp_path: Path) -> None:
    findings = {item.check: item for item in examine(settings(tmp_path))}
    assert set(findings) == {"rtmp port", "hls port", "http port", "disk", "ffmpeg", "store", "clock"}
    assert [item for item in findings.values() if not item.ok] == []
    assert "ffmpeg version" in findings["ffmpeg"].finding
    assert "read back" in findings["store"].finding
    assert not any(path.is_file() for path in (tmp_path / "archive").rglob("*"))


def test_a_taken_port_and_a_store_that_fails_are_told(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the store wants a directory")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        found = examine(settings(tmp_path, rtmp={"listen": listen}, archive={"store": "file:blocked"}))
    findings = {item.check: item for item in found}
    assert not findings["rtmp port"].ok
    assert "another program has it" in findings["rtmp port"].finding
    assert not findings["store"].ok


def test_an_archive_that_is_off_is_no_fault(tmp_path: Path) -> None:
    findings = {item.check: item for item in examine(settings(tmp_path, archive={"store": "off"}))}
    assert findings["store"].ok
