"""The API of slates: files of bounded size, at a bounded pace, tried before anything is kept."""

import asyncio
import io

import pytest

from relay.app import App
from relay.control.models import HoldOptions, NewDestination
from relay.egress import SLATE_BYTES
from relay.web import slates
from tests.cli.test_destinations import png
from tests.support.app import Browser

PATH = "/api/v1/slates"


async def test_a_slate_is_uploaded_listed_shown_and_removed(app: App, browser: Browser) -> None:
    picture = png(64, 36)
    status, kept, _ = await browser.ask("PUT", f"{PATH}/pause.png", data=picture)
    assert (status, kept) == (200, {"name": "pause.png", "size": len(picture), "used_by": []})
    await app.control.add_destination(
        "demo",
        NewDestination(
            name="own", url="rtmp://127.0.0.1:9/live", key="k", hold=HoldOptions(mode="slate", slate="pause.png")
        ),
    )
    _, listed, _ = await browser.ask("GET", PATH)
    assert listed == {"slates": [{**kept, "used_by": ["demo/own"]}]}
    status, answer, _ = await browser.ask("DELETE", f"{PATH}/pause.png")
    assert (status, answer["error"]["code"]) == (409, "conflict")
    await app.control.remove_destination("demo", "own")
    assert (await browser.ask("DELETE", f"{PATH}/pause.png"))[0] == 204
    assert (await browser.ask("DELETE", f"{PATH}/pause.png"))[0] == 404
    entries = [(entry.action, entry.about) for entry in await app.web._audit.last() if "slate" in entry.action]
    assert entries == [
        ("slate removed", {"slate": "pause.png"}),
        ("slate uploaded", {"bytes": str(len(picture)), "slate": "pause.png"}),
    ]


async def test_what_does_not_fit_is_refused_in_words_and_leaves_nothing(app: App, browser: Browser) -> None:
    folder = app.settings.data_dir / "slates"
    for name, content, headers, status, words in (
        ("pause.png", b"a picture", {}, 422, "slate pause.png is no PNG, JPEG or MP4 file"),
        ("pause.png", b"", {}, 422, "slate pause.png is no PNG"),
        ("..%2Fpause.png", png(8, 8), {}, 422, "without a folder"),
        ("pause.svg", png(8, 8), {}, 422, ".png, .jpg or .mp4"),
        ("pause.png", png(8, 8), {"Content-Encoding": "gzip"}, 415, "uncompressed"),
        ("pause.png", io.BytesIO(bytes(SLATE_BYTES + 1)), {}, 413, "too long"),
    ):
        found, answer, _ = await browser.ask("PUT", f"{PATH}/{name}", data=content, headers=headers)
        assert (found, words in answer["error"]["message"]) == (status, True), answer
    assert not folder.exists()
    assert (await browser.ask("PUT", f"{PATH}/pause.png", data=png(8, 8), token=""))[0] == 401


async def test_an_upload_without_a_length_is_counted_as_it_comes(app: App, browser: Browser) -> None:
    async def endless(size: int):  # type: ignore[no-untyped-def]
        for _ in range(size // 65536):
            yield bytes(65536)

    status, answer, _ = await browser.ask("PUT", f"{PATH}/pause.png", data=endless(2 * SLATE_BYTES))
    assert (status, answer["error"]["message"]) == (413, "the request is too long")


async def test_only_so_many_come_at_once_and_none_takes_for_ever(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slates, "UPLOAD_S", 1.0)
    gate = asyncio.Event()

    async def slow():  # type: ignore[no-untyped-def]
        yield b"\x89PNG"
        await gate.wait()

    uploads = [
        asyncio.create_task(browser.ask("PUT", f"{PATH}/{number}.png", data=slow())) for number in range(slates.AT_ONCE)
    ]
    await asyncio.sleep(0.3)
    status, answer, _ = await browser.ask("PUT", f"{PATH}/more.png", data=png(8, 8))
    assert (status, "being uploaded" in answer["error"]["message"]) == (409, True)
    answers = await asyncio.gather(*uploads)
    gate.set()
    assert [(status, answer["error"]["message"]) for status, answer, _ in answers] == [
        (408, "the request came too slowly")
    ] * slates.AT_ONCE
    assert (await browser.ask("PUT", f"{PATH}/more.png", data=png(8, 8)))[0] == 200
