"""The admin token: made once, private, changed at once and for good."""

import stat
from pathlib import Path

from relay.control.token import AdminToken
from relay.redaction import known
from relay.secret import Secret


async def test_it_is_made_once_and_another_one_takes_its_place(tmp_path: Path) -> None:
    token = AdminToken(tmp_path)
    before, digest = token.reveal(), token.digest()
    assert AdminToken(tmp_path).reveal() == before
    assert token.opens(Secret(before))
    made = await token.rotate()
    assert (token.opens(Secret(before)), token.opens(made)) == (False, True)
    assert token.digest() != digest
    assert AdminToken(tmp_path).reveal() == made.reveal() == token.path.read_text() != before
    assert stat.S_IMODE(token.path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["admin.token"]
    for secret in (before, made.reveal()):
        assert secret not in known.censor(f"Authorization {secret}")
