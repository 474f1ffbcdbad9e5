"""Handshake: both forms, both roles, every combination; strict and sloppy peers; any cutting."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol.rtmp.handshake import (
    _PLAYER_SHORT,
    _SCHEMES,
    _SERVER_SHORT,
    NONCE_BYTES,
    ClientHandshake,
    ServerHandshake,
    find_digest,
    sign,
)
from tests.protocol.captures import SESSIONS, cuts, pieces, session


def nonce(seed: str) -> bytes:
    return b"".join(hashlib.sha256(f"{seed}{index}".encode()).digest() for index in range(NONCE_BYTES // 32))


def shake(client: ClientHandshake, server: ServerHandshake, sizes: list[int]) -> tuple[bytes, bytes]:
    """Run both to the end, bytes cut by ``sizes``; what each had left over (a tail was sent behind C2 and S2)."""
    leftovers = {"client": b"", "server": b""}
    c0c1 = client.data_to_send()
    for piece in pieces(c0c1, sizes):
        assert server.feed(piece) is None
    s0s1s2 = server.data_to_send()
    assert len(s0s1s2) == 1 + 1536 * 2
    for piece in pieces(s0s1s2 + b"from server", sizes):
        if client.done:
            leftovers["client"] += piece
        else:
            leftovers["client"] += client.feed(piece) or b""
    for piece in pieces(client.data_to_send() + b"from client", sizes):
        if server.done:
            leftovers["server"] += piece
        else:
            leftovers["server"] += server.feed(piece) or b""
    return leftovers["client"], leftovers["server"]


@given(st.booleans(), cuts)
def test_both_roles_in_both_forms_cut_anywhere(digest: bool, sizes: list[int]) -> None:
    client, server = ClientHandshake(nonce("c"), 5, digest=digest), ServerHandshake(nonce("s"), 7)
    assert shake(client, server, sizes) == (b"from server", b"from client")
    assert (client.done, server.done) == (True, True)
    assert (client.digest, server.digest) == (digest, digest)


@pytest.mark.parametrize("base", _SCHEMES)
def test_the_server_takes_both_digest_schemes_and_answers_in_kind(base: int) -> None:
    c1 = sign(b"\0\0\0\x01\x09\0\x7c\x02" + nonce("c")[8:1536], base, _PLAYER_SHORT)
    server = ServerHandshake(nonce("s"))
    server.feed(b"\x03" + c1)
    s1 = server.data_to_send()[1:1537]
    found = find_digest(s1, _SERVER_SHORT)
    assert found is not None
    assert found[0] == base


def test_a_simple_answer_has_a_zero_version_and_echoes_c1_as_librtmp_insists() -> None:
    c1 = bytes(8) + nonce("c")[8:1536]
    server = ServerHandshake(nonce("s"), 0x01020304)
    server.feed(b"\x03" + c1)
    sent = server.data_to_send()
    assert sent[:9] == b"\x03\x01\x02\x03\x04\0\0\0\0"
    assert sent[1537:] == c1


def test_a_client_that_signs_goes_along_with_a_server_that_does_not() -> None:
    client = ClientHandshake(nonce("c"))
    client.data_to_send()
    s1 = bytes(8) + nonce("s")[8:1536]
    assert client.feed(b"\x03" + s1 + bytes(1536)) == b""
    assert not client.digest
    assert client.data_to_send() == s1


@pytest.mark.parametrize(("first", "words"), [(6, "RTMPE"), (0x16, "TLS"), (ord("G"), "HTTP"), (99, "instead of 3")])
def test_other_protocols_are_named(first: int, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        ServerHandshake(nonce("s")).feed(bytes((first,)))


def test_too_little_randomness_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        ServerHandshake(b"short")


@pytest.mark.parametrize("name", [*SESSIONS, "rtmpdump_play"])
def test_real_clients_get_through(name: str) -> None:
    data = session(name)
    server = ServerHandshake(nonce("s"))
    rest = server.feed(data)
    assert server.done
    assert rest == data[1 + 2 * 1536 :]
