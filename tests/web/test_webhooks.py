"""The API of webhooks."""

from relay.app import App
from tests.hooks.receiver import Receiver
from tests.support.app import Browser

PATH = "/api/v1/webhooks"
SECRET = "a-secret-of-the-test-1234"


async def test_a_webhook_is_added_tested_listed_and_removed(app: App, browser: Browser) -> None:
    async with Receiver(SECRET) as receiver:
        wanted = {"url": receiver.url, "channel": "demo", "events": ["channel.live"], "secret": SECRET}
        status, made, _ = await browser.ask("POST", PATH, json=wanted)
        assert (status, made["secret"]) == (201, SECRET)
        status, told, _ = await browser.ask("POST", f"{PATH}/{made['id']}/test")
        assert (status, told) == (200, {"delivered": True, "words": "taken"})
        assert receiver.faults == []
        receiver.status = 500
        _, told, _ = await browser.ask("POST", f"{PATH}/{made['id']}/test")
        assert told == {"delivered": False, "words": f"127.0.0.1:{receiver.port} answered 500"}
    _, listed, _ = await browser.ask("GET", PATH)
    [view] = listed["webhooks"]
    assert view["events"] == ["channel.live"]
    assert SECRET not in str(view)
    assert "part-of-the-secret" not in str(view)
    assert (await browser.ask("DELETE", f"{PATH}/{made['id']}"))[0] == 204
    assert (await browser.ask("DELETE", f"{PATH}/{made['id']}"))[0] == 404


async def test_what_does_not_fit_is_refused(app: App, browser: Browser) -> None:
    for wanted in (
        {},
        {"url": "ftp://x/"},
        {"url": "http://x/", "events": ["channel.lives"]},
        {"url": "http://x/", "secret": "short"},
        {"url": "http://x/", "more": 1},
    ):
        status, answer, _ = await browser.ask("POST", PATH, json=wanted)
        assert status == 422, wanted
        assert "short" not in str(answer)
    assert (await browser.ask("POST", PATH, json={"url": "http://x/", "channel": "none"}))[0] == 404
    assert (await browser.ask("GET", PATH, token=""))[0] == 401
