"""What all doors in share: the kernel's view of a TCP connection."""

import socket

from relay.ingest.base import TcpInfo, tcp_info


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
