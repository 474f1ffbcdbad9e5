"""Bits and Exp-Golomb numbers: known values, round trip, and how reading ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol import bits as relays
from relay.protocol.bits import BitReader, unescape
from tests.protocol.bit_writer import BitWriter, escape

# H.264 Table 9-2: the bit string, its codeNum, and (Table 9-3) the signed number it maps to
GOLOMB = [("1", 0, 0), ("010", 1, 1), ("011", 2, -1), ("00100", 3, 2), ("00101", 4, -2), ("0001010", 9, 5)]


@pytest.mark.parametrize(("text", "unsigned", "signed"), GOLOMB)
def test_golomb_codes_of_the_standard(text: str, unsigned: int, signed: int) -> None:
    data = int(text.ljust(8, "0"), 2).to_bytes(1, "big")
    assert BitReader(data).ue() == unsigned
    assert BitReader(data).se() == signed
    assert BitWriter().ue(unsigned).text == text
    assert BitWriter().se(signed).text == text


@given(
    st.lists(st.one_of(st.tuples(st.just("u"), st.integers(0, 65535)), st.tuples(st.just("s"), st.integers(-999, 999))))
)
def test_what_is_written_is_read(numbers: list[tuple[str, int]]) -> None:
    writer = BitWriter()
    for kind, number in numbers:
        writer = writer.ue(number) if kind == "u" else writer.se(number)
    bits = BitReader(writer.data()[:1024])
    for kind, number in numbers[:200]:
        assert (bits.ue() if kind == "u" else bits.se()) == number


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2**20 - 1))))
def test_the_relays_writer_agrees_with_the_tests_own(numbers: list[tuple[int, int]]) -> None:
    writer, known = relays.BitWriter(), BitWriter()
    for width, number in numbers:
        writer.write(width, number & (1 << width) - 1)
        writer.ue(number)
        known = known.u(width, number & (1 << width) - 1).ue(number)
    assert writer.count == len(known.text)
    assert writer.data() == (known.data() if known.text else b"")


def test_fixed_widths_and_what_is_left() -> None:
    bits = BitReader(b"\xa5\x0f")
    assert (bits.read(1), bits.read(3), bits.read(4)) == (1, 2, 5)
    bits.skip(4)
    assert bits.left == 4
    assert bits.read(4) == 15
    with pytest.raises(ProtocolError, match="cut short"):
        bits.read(1)


def test_a_run_of_zeros_is_no_number() -> None:
    with pytest.raises(ProtocolError, match="impossible"):
        BitReader(bytes(8)).ue()


def test_only_the_first_kilobyte_counts() -> None:
    bits = BitReader(bytes(100_000))
    assert bits.left == 8 * 1024


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), max_size=40).map(bytes))
def test_emulation_prevention_is_undone(payload: bytes) -> None:
    assert unescape(escape(payload)) == payload
