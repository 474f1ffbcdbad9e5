"""Signing in to the console as a browser does."""

from relay.app import App
from relay.control.users import NewUser
from tests.support.app import Browser

OWN = {"Sec-Fetch-Site": "same-origin"}
PASSWORD = "correct horse battery"


async def sign_in(browser: Browser, name: str = "") -> None:
    """With the admin token, or as the user ``name``."""
    form = {"name": name, "token": PASSWORD if name else browser.token}
    status, _, response = await browser.ask("POST", "/sign-in", token="", data=form)
    assert (status, response.headers["Location"]) == (303, "/")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


async def add_user(app: App, name: str, role: str) -> None:
    await app.web.users.add(NewUser.model_validate({"name": name, "role": role, "password": PASSWORD}))
