"""The API of links to streamers' pages."""

from relay.app import App
from tests.support.app import Browser

PATH = "/api/v1/channels/demo/shares"


async def test_a_link_is_made_listed_and_taken_back(app: App, browser: Browser) -> None:
    status, made, response = await browser.ask("POST", PATH, json={"days": 0.5})
    assert status == 201
    assert response.headers["Cache-Control"] == "no-store"
    assert made["is_local"]
    assert "SHARE_LISTEN" in made["hint"]
    assert made["url"].startswith(f"{browser.base}/s/")
    _, listed, _ = await browser.ask("GET", PATH)
    assert [item["id"] for item in listed["shares"]] == [made["id"]]
    assert made["url"].rpartition("/")[2] not in str(listed)
    status, _, _ = await browser.ask("GET", made["url"].removeprefix(browser.base), token="")
    assert status == 200
    status, _, _ = await browser.ask("DELETE", f"/api/v1/shares/{made['id']}")
    assert status == 204
    status, _, _ = await browser.ask("DELETE", f"/api/v1/shares/{made['id']}")
    assert status == 404
    assert (await browser.ask("GET", PATH))[1] == {"shares": []}


async def test_what_does_not_fit_is_refused(app: App, browser: Browser) -> None:
    for days in (0, -1, 1e9, "x"):
        assert (await browser.ask("POST", PATH, json={"days": days}))[0] == 422
    assert (await browser.ask("POST", "/api/v1/channels/none/shares", json={}))[0] == 404
    assert (await browser.ask("GET", "/api/v1/channels/none/shares"))[0] == 404


async def test_only_the_operator_may(app: App, browser: Browser) -> None:
    for method, path in (("GET", PATH), ("POST", PATH), ("DELETE", "/api/v1/shares/x")):
        assert (await browser.ask(method, path, token=""))[0] == 401
