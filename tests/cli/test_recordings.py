"""Commands about recordings, against a relay that runs."""

import json
from pathlib import Path

from tests.cli.commands import relay
from tests.support.app import running_app


async def test_an_empty_archive_is_an_empty_table_and_an_unknown_recording_an_error(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        code, out, _ = await relay("recording", "list", data=tmp_path, port=app.web.port)
        assert (code, "in the store" in out, len(out.splitlines())) == (0, True, 1)
        code, out, _ = await relay("recording", "list", "--json", data=tmp_path, port=app.web.port)
        assert json.loads(out) == {"recordings": []}
        code, out, err = await relay("recording", "show", "20260101T000000Z-000000", data=tmp_path, port=app.web.port)
        assert (code, out) == (1, "")
        assert err.startswith("relay: there is no recording")
