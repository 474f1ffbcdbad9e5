"""The roof: a start that opens everything, a shutdown in order, and first lines that lead on."""

import platform
import re
import stat
import subprocess
import sys
from pathlib import Path

from relay.app import own_address
from tests.support.app import running_app


async def test_the_first_lines_say_where_everything_is(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        key = app.control.channel("demo").stream_key
        shown, hidden = app.banner(show_keys=True), app.banner(show_keys=False)
        read_key = app.control.channel("demo").read_key
        assert key in shown
        assert f"/live/demo/index.m3u8?key={read_key}" in shown
        assert key not in hidden
        assert read_key not in hidden
        for part in (f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live", "/metrics", "ffmpeg -re", "admin.token", "file:"):
            assert part in hidden
        assert len(shown.splitlines()) < 15


async def test_addresses_are_known_while_the_doors_close(tmp_path: Path) -> None:
    """Pages that are open then still ask for them."""
    async with running_app(tmp_path, http={"listen": "127.0.0.1:0", "share_listen": "127.0.0.1:0"}) as app:
        before = app.control.channel("demo"), app.web.port, app.web.share_port
    assert (app.control.channel("demo"), app.web.port, app.web.share_port) == before


async def test_the_admin_token_is_made_once_and_private(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        token = app.token.reveal()
    file = tmp_path / "admin.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(token) >= 26
    async with running_app(tmp_path) as app:
        assert app.token.reveal() == token == file.read_text()


async def test_ready_only_between_start_and_close(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        assert app.problems() == []
    assert app.problems() == ["starting or stopping"]


async def test_with_the_archive_off_the_rest_runs(tmp_path: Path) -> None:
    async with running_app(tmp_path, archive={"store": "off"}) as app:
        assert app.archive is None
        assert app.problems() == []
        assert "Archive        off" in app.banner(show_keys=False)


def test_the_own_address_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", own_address())


def test_the_c_library_takes_what_it_is_told_about_memory() -> None:
    """In a process of its own. What that is worth, the fault run of the big backlog measures."""
    script = "from relay.app import give_memory_back; print(give_memory_back())"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
