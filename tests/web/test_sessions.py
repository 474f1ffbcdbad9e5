"""Sessions: from token or password to sign-out; guessing is slowed; another password, role or no user ends them."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from relay.app import App
from relay.control.users import UserChange
from relay.secret import Secret
from relay.web.sessions import COOKIE
from tests.support.app import Browser, browsing, running_app
from tests.web.signing import OWN, PASSWORD, add_user, sign_in


async def test_until_sign_out(browser: Browser) -> None:
    assert (await browser.ask("GET", "/", token=""))[0] == 303
    await sign_in(browser)
    assert (await browser.ask("GET", "/", token=""))[0] == 200
    assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 200
    assert (await browser.ask("POST", "/sign-out", token=""))[0] == 303
    assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 401


async def test_sessions_are_known_by_the_digest_of_their_cookie(app: App, browser: Browser) -> None:
    await sign_in(browser)
    (cookie,) = browser._session.cookie_jar
    assert list(app.web._sessions._sessions) == [Secret(cookie.value).digest()]
    for guess in ("", "x", Secret(cookie.value).digest()):
        headers = {"Cookie": f"{COOKIE}={guess}"}
        async with aiohttp.ClientSession() as other, other.get(f"{browser.base}/log", headers=headers) as response:
            assert response.url.path == "/sign-in"


async def test_a_session_changes_things_only_from_our_own_pages(browser: Browser) -> None:
    await sign_in(browser)
    rotate = "/api/v1/channels/demo/rotate-key"
    for site in ("cross-site", "same-site", "none", ""):
        headers = {"Sec-Fetch-Site": site} if site else {}
        assert (await browser.ask("POST", rotate, token="", headers=headers))[0] == 401
    assert (await browser.ask("POST", rotate, token="", headers=OWN))[0] == 200


async def test_another_site_cannot_sign_somebody_in(browser: Browser) -> None:
    form = {"token": browser.token}
    for site in ("cross-site", "same-site"):
        status, page, response = await browser.ask(
            "POST", "/sign-in", token="", data=form, headers={"Sec-Fetch-Site": site}
        )
        assert (status, "another site" in page, "Set-Cookie" in response.headers) == (403, True, False)


async def test_a_wrong_token_is_told_so_and_guessing_is_slowed(browser: Browser) -> None:
    for _ in range(10):
        status, page, _ = await browser.ask("POST", "/sign-in", token="", data={"token": "guess"})
        assert status == 403
        assert "not the admin token" in page
    status, page, _ = await browser.ask("POST", "/sign-in", token="", data={"token": browser.token})
    assert (status, "Wait a minute" in page) == (429, True)


async def test_guesses_sent_all_at_once_are_slowed_as_well(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "viewer")
    form = {"name": "anna", "token": "guess"}
    asked = [browser.ask("POST", "/sign-in", token="", data=form) for _ in range(14)]
    statuses = sorted([status for status, _, _ in await asyncio.gather(*asked)])
    assert statuses == [403] * 10 + [429] * 4


async def test_behind_a_proxy_each_visitor_is_slowed_alone_and_all_of_them_together(tmp_path: Path) -> None:
    """The last address is the proxy's own word; one that passes on what visitors write opens nothing for ever."""
    http = {"listen": "127.0.0.1:0", "behind_proxy": True}
    async with running_app(tmp_path, http=http) as app, browsing(app) as browser:

        async def guess(address: str, token: str = "guess") -> int:
            headers = {"X-Forwarded-For": f"192.0.2.66, {address}"}
            return (await browser.ask("POST", "/sign-in", token="", data={"token": token}, headers=headers))[0]

        assert [await guess("192.0.2.1") for _ in range(11)] == [403] * 10 + [429]
        assert await guess("192.0.2.2", browser.token) == 303
        for number in range(90):
            assert await guess(f"198.51.100.{number}") == 403
        assert await guess("192.0.2.3", browser.token) == 429


async def test_one_guessing_address_does_not_shut_the_others_out(app: App, browser: Browser) -> None:
    for _ in range(10):
        await browser.ask("POST", "/sign-in", token="", data={"token": "guess"})
    known = app.web._sessions._failures._failures
    known["192.0.2.1"] = known.pop("127.0.0.1")
    await sign_in(browser)


async def test_signing_in_as_often_as_one_likes_is_no_guessing(browser: Browser) -> None:
    for _ in range(15):
        await sign_in(browser)


async def test_users_sign_in_by_name(app: App, browser: Browser) -> None:
    assert 'name="name"' not in (await browser.ask("GET", "/sign-in", token=""))[1]
    await add_user(app, "anna", "operator")
    assert 'name="name"' in (await browser.ask("GET", "/sign-in", token=""))[1]
    for name, token in (("anna", browser.token), ("berta", PASSWORD), ("", PASSWORD)):
        status, _, _ = await browser.ask("POST", "/sign-in", token="", data={"name": name, "token": token})
        assert status == 403, (name, token)
    await sign_in(browser, "anna")
    page = (await browser.ask("GET", "/", token=""))[1]
    assert "anna" in page
    assert "operator" in page
    await sign_in(browser)  # the admin token still opens it


@pytest.mark.parametrize("what", ["password", "removed"])
async def test_a_session_ends_with_its_password_and_with_its_user(app: App, browser: Browser, what: str) -> None:
    await add_user(app, "anna", "operator")
    await sign_in(browser, "anna")
    assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 200
    if what == "password":
        await app.web.users.change("anna", UserChange(password="quite another one"))
    else:
        await app.web.users.remove("anna")
    assert (await browser.ask("GET", "/api/v1/channels", token=""))[0] == 401
    assert (await browser.ask("GET", "/", token=""))[0] == 303


async def test_another_role_counts_at_once(app: App, browser: Browser) -> None:
    await add_user(app, "anna", "operator")
    await sign_in(browser, "anna")
    rotate = "/api/v1/channels/demo/rotate-key"
    assert (await browser.ask("POST", rotate, token="", headers=OWN))[0] == 200
    await app.web.users.change("anna", UserChange(role="viewer"))
    assert (await browser.ask("POST", rotate, token="", headers=OWN))[0] == 403
