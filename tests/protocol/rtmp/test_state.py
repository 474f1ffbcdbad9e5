"""The tables of states: whole, closed under their steps, and drawn as they are."""

import pytest

from relay.errors import ProtocolError
from relay.protocol.rtmp.state import CLIENT, SERVER, ClientState, ServerState, diagram, step


def test_every_state_is_in_its_table_can_close_and_can_be_reached() -> None:
    for table, states in ((SERVER, ServerState), (CLIENT, ClientState)):
        assert set(table) == set(states)
        assert all("close" in steps for steps in table.values())
        reached = {following for steps in table.values() for following in steps.values()}
        assert reached == set(states) - {next(iter(states))}


def test_steps_and_what_is_none() -> None:
    assert step(SERVER, ServerState.CONNECTED, "ask") is ServerState.DECIDING
    with pytest.raises(ProtocolError, match="connect does not fit a connection that is publishing"):
        step(SERVER, ServerState.PUBLISHING, "connect")


def test_the_diagram_has_a_line_for_every_step() -> None:
    text = diagram(CLIENT)
    assert text.startswith("stateDiagram-v2")
    assert "connect --> publish: connected" in text
    assert len(text.splitlines()) == 1 + sum(map(len, CLIENT.values()))
