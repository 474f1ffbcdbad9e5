"""The admin token: made once, private, changed at once and for good."""

import errno
import stat
from pathlib import Path

import pytest
import structlog

from relay.control.token import AdminToken
from relay.errors import ConflictError
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


async def test_the_file_may_be_changed_by_whoever_it_belongs_to(tmp_path: Path) -> None:
    token = AdminToken(tmp_path)
    before = token.reveal()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            token.look()
        assert logs == []
        for no_use in ("short", "", None):
            token.path.unlink() if no_use is None else token.path.write_text(no_use)
            for _ in range(3):
                token.look()
            assert token.reveal() == before
        assert [entry["log_level"] for entry in logs] == ["error", "error"], "each reason is said once"
        token.path.write_text("a-token-from-elsewhere-1234\n")
        token.look()
    assert token.reveal() == "a-token-from-elsewhere-1234"
    assert not token.opens(Secret(before))
    assert "elsewhere" not in repr(logs)


async def test_a_file_that_is_not_ours_to_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a secret of compose is: a file system mounted on the one file."""
    token = AdminToken(tmp_path)
    before = token.reveal()

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(ConflictError, match=r"busy.*change it there"):
        await token.rotate()
    assert token.reveal() == before
    assert [path.name for path in tmp_path.iterdir()] == ["admin.token"], "nothing half done"
