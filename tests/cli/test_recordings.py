"""Commands about recordings, against a relay that runs."""

import asyncio
import json
from pathlib import Path

from tests.archive.conftest import CLIP
from tests.archive.media import publish, read_packets
from tests.cli.commands import relay
from tests.support import clips
from tests.support.app import running_app
from tests.support.probe import probe


async def test_an_empty_archive_says_so_and_an_unknown_recording_an_error(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        code, out, _ = await relay("recording", "list", data=tmp_path, port=app.web.port)
        assert (code, out) == (0, "nothing recorded yet\n")
        code, out, _ = await relay("recording", "list", "--json", data=tmp_path, port=app.web.port)
        assert json.loads(out) == {"recordings": []}
        code, out, err = await relay("recording", "show", "20260101T000000Z-000000", data=tmp_path, port=app.web.port)
        assert (code, out) == (1, "")
        assert err.startswith("relay: there is no recording")


async def test_export_saves_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    packets = read_packets(await asyncio.to_thread(clips.make, CLIP))
    folder = tmp_path / "out"
    folder.mkdir()
    async with running_app(tmp_path, archive={"segment_s": 2}) as app:
        publish(app.hub, "demo", packets)[0].release(clean=True)
        async with asyncio.timeout(40):
            while True:
                rows = await app.control.recordings.list("demo")
                if rows and rows[0].state == "complete":
                    break
                await asyncio.sleep(0.05)
        recording = rows[0].id
        port = app.web.port

        async def export(*words: str) -> tuple[int, str, str]:
            return await relay("recording", "export", recording, *words, data=tmp_path, port=port)

        code, out, err = await export("-o", str(folder))
        file = folder / f"{recording}.mp4"
        assert (code, out) == (0, f"{file}: 8.0 s, {file.stat().st_size / 1e6:.1f} MB\n")
        assert err == "", "the bar is for terminals"
        assert len((await probe(file))["video"].dts) == 240
        code, out, err = await export("-o", str(file), "--from", "2", "--to", "4")
        assert (code, out) == (1, "")
        assert err.strip() == f"relay: {file} is there already; name another file with -o, or replace it with --force"
        code, out, _ = await export("-o", str(file), "--from", "0:02", "--to", "4", "--force", "--json")
        assert (code, json.loads(out)["bytes"]) == (0, file.stat().st_size)
        assert json.loads(out)["duration_s"] < 2.2
        size = file.stat().st_size
        code, out, err = await export("-o", str(file), "--force", "--from", "60")
        assert (code, out, "it runs from 0 to 0:00:08" in err) == (1, "", True)
        code, _, err = await export("-o", str(folder / "none" / "x.mp4"))
        assert (code, "cannot write" in err) == (1, True)
        code, _, err = await relay("recording", "export", "no-such", "-o", str(folder), data=tmp_path, port=port)
        assert (code, "no recording no-such" in err) == (1, True)
    assert [path.name for path in folder.iterdir()] == [file.name], "nothing half is left"
    assert file.stat().st_size == size
