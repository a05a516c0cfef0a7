# SPDX-License-Identifier: Apache-2.0
"""Who is connected to a port, by the kernel's tables."""

import socket

import pytest

from serving.listening import connected_ports, is_connected
from tests.waiting import wait_for

# Port 8001 listens and 8002 is connected; a client of 8003 has its own port 40000; 8004's client has closed.
IPV4 = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11
   1: 0100007F:1F42 0100007F:9C41 01 00000000:00000000 00:00000000 00000000     0        0 12
   2: 0100007F:9C40 0100007F:1F43 01 00000000:00000000 00:00000000 00000000     0        0 13
   3: 0100007F:1F44 0100007F:9C42 08 00000000:00000000 00:00000000 00000000     0        0 14
"""
IPV6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr
   0: 00000000000000000000000000000000:1F41 00000000000000000000000000000000:0000 0A 00000000:00000000 00
   1: 0000000000000000FFFF00000100007F:1F45 0000000000000000FFFF00000100007F:9C43 01 00000000:00000000 00
"""


def test_only_the_local_ports_of_established_connections_count():
    assert connected_ports(IPV4) == {8002, 40000}
    assert connected_ports(IPV6) == {8005}
    assert connected_ports("") == set()


@pytest.mark.parametrize(
    ("host", "client_host"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")]
)
def test_a_port_is_connected_while_a_client_is(host, client_host):
    try:
        listening = socket.create_server(
            (host, 0),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            dualstack_ipv6=host == "::",
        )
    except OSError:
        pytest.skip("no IPv6 here")
    with listening:
        port = listening.getsockname()[1]
        assert not is_connected(port)
        with socket.create_connection((client_host, port)):
            assert is_connected(port)
        wait_for(lambda: not is_connected(port))
