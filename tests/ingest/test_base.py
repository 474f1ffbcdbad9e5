"""What all doors in share: connection budgets, and the kernel's view of a TCP connection."""

import socket

import pytest

from relay.config import LimitSettings
from relay.errors import LimitError
from relay.ingest.base import ConnectionBudget, TcpInfo, tcp_info


def test_each_budget_refuses_the_one_too_many_and_counts_nothing_for_it() -> None:
    budget = ConnectionBudget(LimitSettings(connections=4, connections_unauthenticated=3, connections_per_address=2))
    budget.enter("192.0.2.1")
    budget.enter("192.0.2.1")
    with pytest.raises(LimitError) as per_address:
        budget.enter("192.0.2.1")
    assert per_address.value.limit == "connections_per_address"
    budget.enter("192.0.2.2")
    with pytest.raises(LimitError) as strangers:
        budget.enter("192.0.2.3")
    assert strangers.value.limit == "connections_unauthenticated"
    budget.authenticated()
    budget.enter("192.0.2.3")
    with pytest.raises(LimitError) as total:
        budget.enter("192.0.2.4")
    assert total.value.limit == "connections"
    assert (budget.total, budget.unauthenticated) == (4, 3)


def test_leaving_gives_every_place_back() -> None:
    budget = ConnectionBudget(LimitSettings(connections=1, connections_unauthenticated=1, connections_per_address=1))
    for authenticated in (False, True, False):
        budget.enter("192.0.2.1")
        if authenticated:
            budget.authenticated()
        budget.leave("192.0.2.1", authenticated=authenticated)
        assert (budget.total, budget.unauthenticated) == (0, 0)


def test_rtt_of_a_real_connection_is_a_small_positive_number() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0],
    ):
        rtt_s = tcp_info(client).rtt_s
    assert rtt_s is not None
    assert 0 < rtt_s < 1


def test_rtt_of_a_closed_socket_or_none_is_not_known() -> None:
    sock = socket.socket()
    sock.close()
    assert tcp_info(sock) == TcpInfo()
    assert tcp_info(None) == TcpInfo()
