"""The evidence key: made once for its owner's eyes, its public half in every form people keep it."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from relay.archive.signing import KEY_FILE, PublicKey, Signer, own_public_key, read_public_key
from relay.errors import ConfigError


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / KEY_FILE
    first, second = Signer(path), Signer(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.public.raw == second.public.raw
    assert first.public.fits(second.sign(b"text"), b"text")
    assert not first.public.fits(first.sign(b"text"), b"texs")
    assert not first.public.fits(b"", b"text")
    own = own_public_key(path.parent)
    assert own is not None
    assert own.id == first.public.id
    assert len(own.id) == 16


def test_a_data_directory_without_a_key_gets_none_by_looking(tmp_path: Path) -> None:
    assert own_public_key(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_public_half_is_read_as_pem_as_base64_and_from_the_private_file(tmp_path: Path) -> None:
    signer = Signer(tmp_path / KEY_FILE)
    other = tmp_path / "public"
    for content in (signer.public.pem, signer.public.base64, f" {signer.public.base64}\n"):
        other.write_text(content)
        assert read_public_key(other).raw == signer.public.raw
    assert read_public_key(tmp_path / KEY_FILE).raw == signer.public.raw


def _elliptic(private: bool) -> bytes:
    key = generate_private_key(SECP256R1())
    if private:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PEM = "-----BEGIN {} KEY-----\nAAAA\n-----END {} KEY-----\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"hello",
        b"AAAA",
        b"A" * 44,
        b"z" * 100_000,
        PEM.format("PUBLIC", "PUBLIC").encode(),
        _elliptic(False),
    ],
)
def test_what_is_no_public_key_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "public"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"public is not an Ed25519 public key; give it as PEM or in base64"):
        read_public_key(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", PEM.format("PRIVATE", "PRIVATE").encode(), _elliptic(True), _elliptic(False)]
)
def test_a_wrong_key_file_stops_the_relay_with_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    for use in (Signer, lambda path: own_public_key(path.parent)):
        with pytest.raises(ConfigError, match=r"evidence.key is not an Ed25519 private key; restore it from a backup"):
            use(tmp_path / KEY_FILE)


def test_a_key_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir()
    for use in (Signer, lambda path: own_public_key(path.parent)):
        with pytest.raises(ConfigError, match=r"cannot read .*evidence.key: Is a directory; run this as the relay's"):
            use(tmp_path / KEY_FILE)
    with pytest.raises(ConfigError, match=r"cannot read the public key .*none: No such file"):
        read_public_key(tmp_path / "none")


def test_a_public_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        PublicKey(b"short")
