"""BitReader: bits, Exp-Golomb numbers, and the end of the data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol.bits import BitReader, unescape


def coded(value: int) -> str:
    """``value`` as an unsigned Exp-Golomb number (H.264 §9.1)."""
    binary = f"{value + 1:b}"
    return "0" * (len(binary) - 1) + binary


def reader(bits: str) -> BitReader:
    bits += "0" * (-len(bits) % 8)
    return BitReader(int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b"")


@pytest.mark.parametrize(
    ("bits", "unsigned", "signed"), [("1", 0, 0), ("010", 1, 1), ("011", 2, -1), ("00100", 3, 2), ("00101", 4, -2)]
)
def test_the_first_numbers_of_the_specifications_table(bits: str, unsigned: int, signed: int) -> None:
    assert coded(unsigned) == bits
    assert reader(bits).ue() == unsigned
    assert reader(bits).se() == signed


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20))
def test_numbers_come_back_one_after_the_other(values: list[int]) -> None:
    bits = reader("".join(map(coded, values)))
    assert [bits.ue() for _ in values] == values


@given(st.binary(max_size=20), st.lists(st.integers(0, 40), max_size=20))
def test_reading_past_the_end_is_our_error(data: bytes, sizes: list[int]) -> None:
    bits, left = BitReader(data), len(data) * 8
    for size in sizes:
        if size <= left:
            assert 0 <= bits.read(size) < 1 << size
            left -= size
        else:
            with pytest.raises(ProtocolError):
                bits.read(size)
            return


def test_an_endless_prefix_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        BitReader(bytes(20)).ue()


def test_emulation_prevention_bytes_go() -> None:
    assert unescape(b"\x00\x00\x03\x01\x00\x00\x03\x00\x00\x03") == b"\x00\x00\x01\x00\x00\x00\x00"
