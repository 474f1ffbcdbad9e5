"""Users: kept hashed in a file only the owner reads; right passwords, wrong ones, and names nobody has."""

import json
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from relay.control.users import FILE, NewUser, Role, UserChange, Users
from relay.errors import ConfigError, ConflictError, NotFoundError
from relay.secret import Secret

ANNA = NewUser(name="anna", role="viewer", password="correct horse battery")


async def test_a_user_signs_in_also_after_a_restart(tmp_path: Path) -> None:
    await Users(tmp_path).add(ANNA)
    users = Users(tmp_path)
    user = await users.verify("anna", Secret(ANNA.password))
    assert user is not None
    assert (user.name, user.rank) == ("anna", Role.VIEWER)
    assert await users.verify("anna", Secret("correct horse batter")) is None
    assert await users.verify("berta", Secret(ANNA.password)) is None
    assert await users.verify("anna", Secret("\udcff")) is None


async def test_the_file_holds_no_password_and_is_the_owners_alone(tmp_path: Path) -> None:
    await Users(tmp_path).add(ANNA)
    file = tmp_path / FILE
    assert file.stat().st_mode & 0o077 == 0
    assert ANNA.password not in file.read_text()
    assert json.loads(file.read_text())["users"][0]["hash"].startswith("$argon2id$")


async def test_a_name_nobody_has_takes_as_long_as_a_wrong_password(tmp_path: Path) -> None:
    users = Users(tmp_path)
    await users.add(ANNA)

    async def timed(name: str) -> float:
        begun = time.perf_counter()
        for _ in range(3):
            await users.verify(name, Secret("something else"))
        return time.perf_counter() - begun

    known, unknown = await timed("anna"), await timed("nobody")
    assert unknown > known / 5  # without the work it would be a thousandth


async def test_changes_and_what_cannot_be(tmp_path: Path) -> None:
    users = Users(tmp_path)
    before = await users.add(ANNA)
    with pytest.raises(ConflictError, match="already a user anna"):
        await users.add(ANNA)
    after = await users.change("anna", UserChange(password="quite another one"))
    assert after.hash != before.hash
    assert await users.verify("anna", Secret(ANNA.password)) is None
    assert (await users.change("anna", UserChange(role="operator"))).rank is Role.OPERATOR
    assert await users.verify("anna", Secret("quite another one")) is not None
    await users.remove("anna")
    assert users.list() == []
    assert Users(tmp_path).list() == []
    for name in ("anna", "<script>"):
        with pytest.raises(NotFoundError, match="no user"):
            await users.remove(name)
    with pytest.raises(NotFoundError):
        await users.change("anna", UserChange(role="viewer"))


def test_names_passwords_and_roles_that_do_not_fit() -> None:
    for wrong in ({"name": "A b"}, {"password": "short"}, {"role": "admin"}, {"more": 1}):
        with pytest.raises(ValidationError):
            NewUser.model_validate({**ANNA.model_dump(), **wrong})


def test_a_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ConfigError, match=r"users\.json cannot be read"):
        Users(tmp_path)
