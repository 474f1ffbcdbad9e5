"""Secrets at rest: the key file is private and made once; another key file reads nothing."""

import stat
from pathlib import Path

import pytest

from relay.database.crypto import Cipher, make_once
from relay.errors import ConfigError
from relay.secret import Secret


def test_what_is_encrypted_comes_back_and_does_not_show(tmp_path: Path) -> None:
    cipher = Cipher(tmp_path / "secret.key")
    token = cipher.encrypt(Secret("hunter2hunter2"))
    assert b"hunter2" not in token
    assert cipher.decrypt(token) == Secret("hunter2hunter2")
    assert Cipher(tmp_path / "secret.key").decrypt(token) == Secret("hunter2hunter2")
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_another_key_file_is_told_apart(tmp_path: Path) -> None:
    token = Cipher(tmp_path / "a.key").encrypt(Secret("x"))
    with pytest.raises(ConfigError, match=r"secret\.key"):
        Cipher(tmp_path / "b.key").decrypt(token)


def test_a_broken_key_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("nonsense")
    with pytest.raises(ConfigError, match="not a key"):
        Cipher(tmp_path / "secret.key")


def test_signatures_depend_on_text_and_key(tmp_path: Path) -> None:
    one, other = Cipher(tmp_path / "a.key"), Cipher(tmp_path / "b.key")
    assert one.sign("x") == one.sign("x")
    assert len({one.sign("x"), one.sign("y"), other.sign("x")}) == 3


def test_the_first_to_make_a_file_wins(tmp_path: Path) -> None:
    assert make_once(tmp_path / "f", b"first") == b"first"
    assert make_once(tmp_path / "f", b"second") == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
