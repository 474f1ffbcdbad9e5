"""NAL units and parameter sets: real headers, emulation prevention by property, damage."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol.bits import unescape
from relay.protocol.h264 import Pps, Sps, escape, header_units, nal_units, read_pps, read_sps
from tests.protocol import bit_writer
from tests.protocol.bit_writer import BitWriter
from tests.protocol.damage import value_or_error

# name, AVCDecoderConfigurationRecord, what its sets say
REAL = [
    (
        "baseline",
        "0142c028ffe100196742c028da01e0089f970110000003001000000303c0f1832a01000468ce0fc8",
        Sps(0, 1920, 1080, False, 4, 2, 0, False, True),
        Pps(0, 0, False, False, True, False),
    ),
    (
        "interlaced, CAVLC",
        "014d4028ffe10019674d4028f403c0227ef0110000030001000003003c1f162ea001000468de0fc8",
        Sps(0, 1920, 1080, False, 4, 0, 4, False, False),
        Pps(0, 0, False, True, True, False),
    ),
]


@pytest.mark.parametrize(("name", "header", "sps", "pps"), REAL, ids=[row[0] for row in REAL])
def test_parameter_sets_of_real_encoders(name: str, header: str, sps: Sps, pps: Pps) -> None:
    first, second = header_units(bytes.fromhex(header))
    assert read_sps(first) == sps
    assert read_pps(second) == pps


@given(st.integers(0, 255), st.integers(0, 31), *[st.booleans()] * 5)
def test_picture_parameter_sets_round_trip(
    number: int, sps: int, cabac: bool, bottom: bool, weighted: bool, deblocking: bool, redundant: bool
) -> None:
    bits = BitWriter().u(8, 0x68).ue(number).ue(sps).u(1, cabac).u(1, bottom).ue(0).ue(2).ue(1)
    bits = bits.u(1, weighted).u(2, 2).se(-6).se(3).se(-1).u(1, deblocking).u(1, 1).u(1, redundant).u(1, 1)
    assert read_pps(bit_writer.escape(bits.data())) == Pps(number, sps, cabac, bottom, deblocking, redundant)


def test_slice_groups_are_refused() -> None:
    with pytest.raises(ProtocolError, match="slice groups"):
        read_pps(BitWriter().u(8, 0x68).ue(0).ue(0).u(2, 0).ue(1).ue(0).data())


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), max_size=60).map(bytes))
def test_emulation_prevention_is_the_standards(payload: bytes) -> None:
    assert escape(payload) == bit_writer.escape(payload)
    assert unescape(escape(payload)) == payload


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.sampled_from([1, 2, 4]))
def test_access_units_come_apart(units: list[bytes], size: int) -> None:
    data = b"".join(len(unit).to_bytes(size, "big") + unit + bytes(size) for unit in units)
    assert nal_units(data, size) == units
    if units:
        with pytest.raises(ProtocolError, match="cut short"):
            nal_units(data[: -size - 1], size)


@pytest.mark.parametrize("read", [read_sps, read_pps, header_units, lambda data: nal_units(data, 4)])
@given(data=st.binary(max_size=80))
def test_any_bytes_give_a_value_or_a_protocol_error(read: Callable[[bytes], object], data: bytes) -> None:
    value_or_error(read, data)
