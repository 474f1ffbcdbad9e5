"""Access: off, signed and public; the read key, links that expire, and what is passed on to segments."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from relay.app import App
from relay.control.models import ChannelChange, NewChannel
from relay.web.hls.access import Access


def asked(path: str, query: str = "", method: str = "GET", **headers: str) -> Any:
    """As much of a request as access is judged by."""
    return SimpleNamespace(
        path=path, query_string=query, method=method, headers=headers, match_info={"name": path.split("/")[2]}
    )


@pytest.fixture
def access(app: App) -> Access:
    return app.web._access


async def test_signed_opens_to_the_read_key_and_to_links_of_that_channel(app: App, access: Access) -> None:
    key = app.control.channel("demo").read_key
    other = await app.control.create_channel(NewChannel(name="other"))
    link = access.link("demo", int(time.time()) + 60)
    for query in (f"key={key}", link, f"x=1&{link}&_HLS_msn=5&_HLS_part=1", f"_HLS_msn=5&_HLS_part=1&key={key}"):
        for _ in range(2):
            assert access.allows(asked("/live/demo/index.m3u8", query))
            assert access.allows(asked("/watch/demo", query))
            assert not access.allows(asked("/live/other/index.m3u8", query)), query
            assert not access.allows(asked("/live/demo/index.m3u8", query, "POST"))
            assert not access.allows(asked("/api/v1/channels", query))
    old = access.link("demo", int(time.time()) - 1)
    for query in (
        "",
        "key=",
        f"key={other.read_key}",
        old,
        link[:-1] + "g",
        link.replace("expires=", "expires=1"),
        "%ff",
    ):
        assert not access.allows(asked("/live/demo/index.m3u8", query)), query
    assert not access.allows(asked("/live/nothing/index.m3u8", f"key={key}"))


async def test_a_link_stops_working_in_its_second(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    expires = int(time.time()) + 60
    request = asked("/live/demo/main.m3u8", access.link("demo", expires))
    assert access.allows(request)
    monkeypatch.setattr(time, "time", lambda: expires + 1.0)
    assert not access.allows(request)


async def test_the_option_counts_at_once(app: App, access: Access) -> None:
    request = asked("/live/demo/main.m3u8", f"key={app.control.channel('demo').read_key}")
    bare = asked("/live/demo/main.m3u8")
    seen = []
    for viewers in ("signed", "off", "public", "signed"):
        await app.control.change_channel("demo", ChannelChange(viewers=viewers))  # type: ignore[arg-type]
        seen.append((access.allows(request), access.allows(bare), access.is_public("demo")))
    assert seen == [(True, False, False), (False, False, False), (True, True, True), (True, False, False)]


async def test_what_opened_the_playlist_opens_its_segments(app: App, access: Access) -> None:
    key = app.control.channel("demo").read_key
    link = access.link("demo", int(time.time()) + 60)
    assert access.passed_on(asked("/live/demo/main.m3u8", f"key={key}&_HLS_msn=1"), "demo") == f"?key={key}"
    assert access.passed_on(asked("/live/demo/main.m3u8", link), "demo") == f"?{link}"
    token = access.passed_on(asked("/live/demo/main.m3u8", Authorization="Bearer t"), "demo")
    assert access.passed_on(asked("/live/demo/main.m3u8"), "demo") == ""
    assert access.allows(asked("/live/demo/x/1.m4s", token[1:]))
    await app.control.change_channel("demo", ChannelChange(viewers="public"))
    assert access.passed_on(asked("/live/demo/main.m3u8", f"key={key}"), "demo") == ""
