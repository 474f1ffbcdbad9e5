"""Commands: read from AMF0 and AMF3 messages, answers built, codecs announced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolError
from relay.protocol.amf0 import AmfLimits, decode, encode
from relay.protocol.rtmp.command import FOURCCS, enhanced_fields, fourccs_of, read_command, status

LIMITS = AmfLimits()


def test_a_command_and_its_arguments() -> None:
    command = read_command(20, encode("publish", 5, None, "KEY", "live"), LIMITS)
    assert (command.name, command.transaction, command.text(0), command.text(1)) == ("publish", 5, "KEY", "live")
    assert (command.text(7, "none"), command.number(0, 3.0), command.number(9, 4.0)) == ("none", 3.0, 4.0)


def test_amf3_messages_carry_amf0_behind_a_zero() -> None:
    payload = encode("connect", 1, {"app": "live"})
    assert (
        read_command(17, b"\0" + payload, LIMITS)
        == read_command(17, payload, LIMITS)
        == read_command(20, payload, LIMITS)
    )


@pytest.mark.parametrize("payload", [b"", encode(5), encode(None)])
def test_a_command_without_a_name_is_an_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="without a name"):
        read_command(20, payload, LIMITS)


@given(st.sampled_from([17, 20]), st.binary(max_size=100))
def test_arbitrary_payloads_raise_nothing_but_protocol_errors(type_id: int, payload: bytes) -> None:
    try:
        read_command(type_id, payload, LIMITS)
    except ProtocolError:
        return


def test_status_is_an_on_status_command() -> None:
    assert decode(status("error", "A.B", "why")) == [
        "onStatus", 0, None, {"level": "error", "code": "A.B", "description": "why"},
    ]  # fmt: skip


def test_codecs_are_announced_and_read_in_both_versions() -> None:
    first, second = enhanced_fields(full=False), enhanced_fields(full=True)
    assert list(first) == ["fourCcList"]
    assert fourccs_of(first) == FOURCCS
    assert set(fourccs_of({key: value for key, value in second.items() if key != "fourCcList"})) == set(FOURCCS)
    assert fourccs_of({"fourCcList": "hvc1", "videoFourCcInfoMap": 3}) == ()
    assert fourccs_of({"fourCcList": ["hvc1", 3, None]}) == ("hvc1",)
