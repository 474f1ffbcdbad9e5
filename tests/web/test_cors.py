"""CORS: nobody's pages, unless the settings name them; and then only what plays."""

from pathlib import Path

import pytest

from tests.support.app import browsing, running_app

PLAYLIST = "/live/demo/index.m3u8"
OURS = {"Origin": "https://www.example.org"}


async def test_without_a_setting_no_page_elsewhere_reads_anything(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app, browsing(app) as browser:
        _, _, response = await browser.ask("GET", PLAYLIST, headers=OURS)
        assert "Access-Control-Allow-Origin" not in response.headers
        status, _, _ = await browser.ask("OPTIONS", PLAYLIST, headers=OURS)
        assert status == 405


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [(["https://www.example.org/"], "https://www.example.org"), (["*"], "*"), (["https://else.example"], None)],
)
async def test_named_pages_read_playback_and_nothing_else(
    tmp_path: Path, origins: list[str], allowed: str | None
) -> None:
    http = {"listen": "127.0.0.1:0", "cors_origins": origins}
    async with running_app(tmp_path, http=http) as app, browsing(app) as browser:
        for path in (PLAYLIST, "/api/v1/recordings/none/index.m3u8"):
            _, _, response = await browser.ask("GET", path, headers=OURS)
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
            assert "Origin" in response.headers["Vary"]
        _, _, response = await browser.ask("GET", "/api/v1/channels", headers=OURS)
        assert "Access-Control-Allow-Origin" not in response.headers
        status, _, response = await browser.ask("OPTIONS", PLAYLIST, token="", headers=OURS)
        assert status == 204
        assert response.headers.get("Access-Control-Allow-Origin") == allowed
        assert "GET" in response.headers["Access-Control-Allow-Methods"]
