"""The API over real HTTP: the shapes promised, changes that take effect, and bad input that is told what is wrong."""

from typing import Any

import pytest

from relay.app import App
from relay.errors import RefusedError
from tests.support.app import Browser

CHANNEL_FIELDS = {
    "name", "state", "stream_key", "publish_url", "playback_url", "publisher", "tracks", "destinations", "recording",
}  # fmt: skip
DESTINATION_FIELDS = {"name", "state", "last_error", "bytes_sent", "attempts", "dropped_packets", "backlog_s"}


async def test_a_channel_from_creation_to_deletion(app: App, browser: Browser) -> None:
    status, made, _ = await browser.ask("POST", "/api/v1/channels", json={"name": "rally"})
    assert status == 201
    assert made.keys() >= CHANNEL_FIELDS
    assert (made["state"], made["publisher"], made["tracks"], made["recording"]) == ("offline", None, [], None)
    assert made["publish_url"] == f"rtmp://127.0.0.1:{app.ingest.ports[0]}/live"
    assert app.admission.admit_publish(made["stream_key"], "192.0.2.1") == "rally"
    status, listed, _ = await browser.ask("GET", "/api/v1/channels")
    assert [channel["name"] for channel in listed["channels"]] == ["demo", "rally"]
    status, rotated, _ = await browser.ask("POST", "/api/v1/channels/rally/rotate-key")
    assert status == 200
    assert rotated["stream_key"] != made["stream_key"]
    with pytest.raises(RefusedError):
        app.admission.admit_publish(made["stream_key"], "192.0.2.1")
    status, changed, _ = await browser.ask("PATCH", "/api/v1/channels/rally", json={"stream_key": "k" * 30})
    assert (status, changed["stream_key"]) == (200, "k" * 30)
    assert (await browser.ask("DELETE", "/api/v1/channels/rally"))[0] == 204
    assert (await browser.ask("GET", "/api/v1/channels/rally"))[0] == 404
    assert (await browser.ask("DELETE", "/api/v1/channels/rally"))[0] == 404


async def test_destinations_are_added_changed_and_removed_and_never_show_their_key(browser: Browser) -> None:
    base = "/api/v1/channels/demo/destinations"
    wanted = {"name": "yt", "platform": "youtube", "key": "secret-platform-key"}
    status, made, _ = await browser.ask("POST", base, json=wanted)
    assert status == 201
    assert made.keys() >= DESTINATION_FIELDS
    assert (made["state"], made["platform"]) == ("idle", "youtube")
    assert "youtube.com" in made["url"]
    assert "secret-platform-key" not in str(made)
    status, made, _ = await browser.ask("PATCH", f"{base}/yt", json={"enabled": False})
    assert (status, made["state"]) == (200, "disabled")
    status, made, _ = await browser.ask("PATCH", f"{base}/yt", json={"platform": "custom", "url": "rtmp://h.example/a"})
    assert (made["platform"], made["url"]) == ("custom", "rtmp://h.example/a")
    status, listed, _ = await browser.ask("GET", base)
    assert [item["name"] for item in listed["destinations"]] == ["yt"]
    assert (await browser.ask("DELETE", f"{base}/yt"))[0] == 204
    assert (await browser.ask("DELETE", f"{base}/yt"))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/channels", {"name": "UPPER"}, 422, "name"),
        ("/channels", {"name": "../etc"}, 422, "name"),
        ("/channels", {"name": "a" * 64}, 422, "name"),
        ("/channels", {}, 422, "name"),
        ("/channels", {"name": "x", "nmae": 1}, 422, "nmae"),
        ("/channels", {"name": "x", "stream_key": "short"}, 422, "stream_key"),
        ("/channels", {"name": "x", "expected": "yes"}, 422, "expected"),
        ("/channels", {"name": "x", "archive": {"keep_days": "30"}}, 422, "keep_days"),
        ("/channels/demo/link", {"hours": True}, 422, "hours"),
        ("/channels", {"name": "demo"}, 409, "already a channel demo"),
        ("/channels/demo/destinations", {"name": "d", "url": "ftp://h/x", "key": "k"}, 422, "rtmp://"),
        ("/channels/demo/destinations", {"name": "d", "platform": "tube", "key": "k"}, 422, "youtube"),
        ("/channels/demo/destinations", {"name": "d", "platform": "youtube"}, 422, "needs a stream key"),
        ("/channels/demo/destinations", {"name": "d", "platform": "kick", "key": "k"}, 422, "add the URL"),
        ("/channels/nope/destinations", {"name": "d", "url": "rtmp://h/a", "key": "k"}, 404, "no channel nope"),
        ("/apply", {"channels": [{"name": "a"}, {"name": "a"}]}, 422, "twice"),
    ],
)
async def test_bad_input_is_told_what_is_wrong_and_changes_nothing(
    browser: Browser, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    before = (await browser.ask("GET", "/api/v1/channels"))[1]
    answered, error, _ = await browser.ask("POST", f"/api/v1{path}", json=body)
    assert (answered, words in error["error"]["message"]) == (status, True), error
    assert (await browser.ask("GET", "/api/v1/channels"))[1] == before


async def test_a_body_that_is_not_json_is_refused(browser: Browser) -> None:
    status, error, _ = await browser.ask("POST", "/api/v1/channels", data="name=x")
    assert (status, "application/json" in error["error"]["message"]) == (422, True)
    headers = {"Content-Type": "application/json"}
    status, error, _ = await browser.ask("POST", "/api/v1/channels", data=b"{", headers=headers)
    assert status == 422


async def test_apply_makes_it_so_and_says_what_it_did(browser: Browser) -> None:
    document: dict[str, Any] = {
        "channels": [
            {"name": "demo", "destinations": [{"name": "d", "url": "rtmp://h.example/a", "key": "k"}]},
            {"name": "rally", "stream_key": "r" * 30},
        ]
    }
    status, done, _ = await browser.ask("POST", "/api/v1/apply", json=document)
    assert (status, len(done["changes"])) == (200, 2)
    assert (await browser.ask("POST", "/api/v1/apply", json=document))[1] == {"changes": []}
    pruned = {"channels": document["channels"][1:], "prune": True}
    assert (await browser.ask("POST", "/api/v1/apply", json=pruned))[1] == {"changes": ["channel demo deleted"]}


async def test_recordings_start_empty_and_an_unknown_one_is_named(browser: Browser) -> None:
    assert (await browser.ask("GET", "/api/v1/recordings?channel=demo"))[1] == {"recordings": []}
    assert (await browser.ask("GET", "/api/v1/recordings?channel=%00"))[1] == {"recordings": []}
    for odd in ("%00", "..%2f..%2fx", "x" * 33, "%ff"):
        assert (await browser.ask("GET", f"/api/v1/recordings/{odd}"))[0] == 404
    status, error, _ = await browser.ask("GET", "/api/v1/recordings/nope")
    assert (status, "nope" in error["error"]["message"]) == (404, True)
