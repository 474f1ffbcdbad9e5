"""What others said, shown on a terminal."""

from pathlib import Path

from relay.control.models import NewDestination
from tests.cli.commands import relay
from tests.support.app import running_app


async def test_what_a_platform_says_is_shown_as_text(tmp_path: Path) -> None:
    """Neither as markup, which may not even be well-formed, nor as commands to the terminal."""
    said = "[/b] \x1b[2Jgo away [red], and this is said on one line however long it is, as no column is so wide"
    async with running_app(tmp_path) as app:
        wanted = NewDestination(name="d", url="rtmp://h.example/a", key="k", enabled=False)
        await app.control.add_destination("demo", wanted)
        app.egress._channels["demo"]["d"]._supervisor._last_error = said
        code, out, _ = await relay("destination", "list", "demo", data=tmp_path, port=app.web.port)
    assert code == 0
    assert f"  d: {said.replace(chr(27), ' ')}\n" in out
