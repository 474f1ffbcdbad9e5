"""Commands about recordings, against a relay that runs."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from relay.app import App
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


async def recorded(app: App) -> str:
    """The id of a complete recording."""
    packets = read_packets(await asyncio.to_thread(clips.make, CLIP))
    publish(app.hub, "demo", packets)[0].release(clean=True)
    async with asyncio.timeout(40):
        while True:
            rows = await app.control.recordings.list("demo")
            if rows and rows[0].state == "complete":
                return rows[0].id
            await asyncio.sleep(0.05)


async def test_export_saves_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    async with running_app(tmp_path, archive={"segment_s": 2}) as app:
        recording = await recorded(app)
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


@contextlib.asynccontextmanager
async def cutting(port: int, nbytes: int) -> AsyncIterator[tuple[int, list[int]]]:
    """A link to ``port`` that breaks after ``nbytes`` of each answer: its own port, and how much each one carried."""
    carried: list[int] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay_reader, relay_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            relay_writer.write(await reader.readuntil(b"\r\n\r\n"))
            carried.append(0)
            while carried[-1] < nbytes and (data := await relay_reader.read(nbytes - carried[-1])):
                writer.write(data)
                await writer.drain()
                carried[-1] += len(data)
        finally:
            for end in (writer, relay_writer):
                end.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], carried


async def test_export_over_a_link_that_breaks_again_and_again(tmp_path: Path) -> None:
    async with running_app(tmp_path, archive={"segment_s": 2}) as app:
        words = ("recording", "export", await recorded(app), "-o")
        assert (await relay(*words, str(tmp_path / "whole.mp4"), data=tmp_path, port=app.web.port))[0] == 0
        whole = (tmp_path / "whole.mp4").read_bytes()
        async with cutting(app.web.port, len(whole) // 3) as (port, carried):
            code, _, err = await relay(*words, str(tmp_path / "cut.mp4"), data=tmp_path, port=port)
        assert (code, err, len(carried)) == (0, "", 4)
        assert (tmp_path / "cut.mp4").read_bytes() == whole
