"""Secrets: never shown by accident, compared by value, made with enough randomness."""

import json
import math

import pytest

from relay.secret import Secret, censored, new_key


def test_a_secret_shows_stars_wherever_it_is_put() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", "%s" % secret, repr([secret]), repr({"k": secret})]  # noqa: UP031
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert secret.reveal() == "hunter2"


def test_comparison_is_by_value_and_with_secrets_only() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert (bool(Secret("")), bool(Secret("x"))) == (False, True)


def test_new_keys_differ_and_carry_at_least_128_bits() -> None:
    keys = {new_key().reveal() for _ in range(100)}
    assert len(keys) == 100
    letters = {letter for key in keys for letter in key}
    assert min(map(len, keys)) * math.log2(31) >= 128
    assert letters.isdisjoint("il1o0")


def test_the_digest_is_sha_256() -> None:
    assert Secret("abc").digest().startswith("ba7816bf8f01cfea")


def test_what_is_no_text_is_compared_all_the_same() -> None:
    """Bytes that are not UTF-8 reach us as lone surrogates."""
    stray = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert Secret(stray) != Secret("key")
    assert Secret(stray) == Secret(stray)
    assert Secret(stray).digest() != Secret("key").digest()


def test_a_strangers_words_are_shown_in_one_line_and_without_the_keys_they_repeat() -> None:
    assert censored("no stream KEY?a=b\r\n here\x1b[1m", ["KEY", "KEY?a=b", ""]) == "no stream ********   here [1m"
