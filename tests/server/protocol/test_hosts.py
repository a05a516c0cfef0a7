# SPDX-License-Identifier: Apache-2.0
"""HOST: IPv6 addresses, all addresses of the machine, names, and what is none of these."""

import asyncio
import contextlib
import dataclasses
import socket
import subprocess
import sys
import urllib.request

import pytest

from benchmarks.pace.make_engine import make_pace_engine
from llm_ensemble_client import AsyncClient, Client
from serving.health import WAYS, Outcome, liveness_probe, read_counters
from serving.listening import Ports, netloc
from serving.tools.image import healthy
from serving.tritonserver import ROOT, free_ports
from tests.asking import GrpcStream, generate
from tests.server.lifecycle.test_space import UNSHARE, may_mount
from tests.server.serving import refused, serve_command, served
from tests.waiting import wait_for


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
PROMPT = "To change the settings,"


def on(host):
    return dataclasses.replace(free_ports(), host=host)


def environment(ports):
    names = {"HOST": ports.host, "HTTP_PORT": ports.http, "GRPC_PORT": ports.grpc}
    return {name: str(value) for name, value in names.items()}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One whose texts are long enough to leave, whatever the machine."""
    return make_pace_engine(tmp_path_factory.mktemp("pace") / "engine")


@pytest.fixture(scope="module")
def ipv6(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("ipv6") / "log", on("::1")) as server:
        yield server


@pytest.fixture(scope="module")
def everywhere(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("all") / "log", on("::")) as server:
        yield server


def by_client(url):
    with Client(url, timeout=60) as client:
        return client.generate(PROMPT, max_tokens=8).text


async def by_asyncio(url):
    async with AsyncClient(url, timeout=60) as client:
        return (await client.generate(PROMPT, max_tokens=8)).text


def metrics(ports):
    with urllib.request.urlopen(ports.metrics_url, timeout=60) as answer:
        return answer.read().decode()


@NEEDS_IPV6
def test_an_ipv6_address_is_served_over_http_and_grpc_and_measured(ipv6):
    text = generate(ipv6, PROMPT, max_tokens=8)["text_output"]
    with GrpcStream(ipv6) as stream:
        assert (
            "".join(one["text_output"] for one in stream.ask(text_input=PROMPT, max_tokens=8, stream=True))
            == text
        )
    for url in (ipv6.ports.http_url, f"grpc://{ipv6.ports.grpc_netloc}"):
        assert by_client(url) == asyncio.run(by_asyncio(url)) == text
    assert "nv_inference_request_success" in metrics(ipv6.ports)


@NEEDS_IPV6
def test_the_watchdog_and_the_image_s_health_check_reach_an_ipv6_address(ipv6):
    assert {liveness_probe(ipv6.ports, way, 30, 40).outcome for way in WAYS} == {Outcome.SERVED}
    assert "ensemble_unary" in read_counters(ipv6.ports)
    assert healthy(environment(ipv6.ports))
    assert not healthy(environment(dataclasses.replace(ipv6.ports, host="127.0.0.1")))


@NEEDS_IPV6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_all_addresses_are_reached_over_either_family(everywhere, host):
    ports = dataclasses.replace(everywhere.ports, host=host)
    assert by_client(ports.http_url) == by_client(f"grpc://{ports.grpc_netloc}")
    assert "nv_inference_request_success" in metrics(ports)
    assert healthy(environment(everywhere.ports))
    assert {liveness_probe(everywhere.ports, way, 30, 40).outcome for way in WAYS} == {Outcome.SERVED}


@NEEDS_IPV6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_client_disconnect_is_noticed_over_either_family(everywhere, host):
    ports = dataclasses.replace(everywhere.ports, host=host)
    before = cancelled(ports)
    with Client(ports.http_url, timeout=60) as client:
        next(iter(stream := client.stream(PROMPT, max_tokens=3000)))
        stream.close()
    wait_for(lambda: cancelled(ports) != before)


def cancelled(ports):
    lines = metrics(ports).splitlines()
    return [line for line in lines if line.startswith('llm_requests_total{finish_reason="cancelled"')]


@NEEDS_IPV6
def test_a_port_that_is_taken_on_ipv4_is_taken_for_all_addresses(engine):
    ports = on("::")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.metrics))
        taken.listen()
        line = refused(engine, ports)
    assert line == f"serve: port {ports.metrics} is taken: choose another with METRICS_PORT=..."


USUAL = "127.0.0.1 or ::1 (this machine only), 0.0.0.0 or :: (all addresses)"


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("2001:db8::1", "is no address of this machine"),
        ("192.0.2.1", "is no address of this machine"),
        ("no-such-name.invalid", "is no address, and no name that is known here"),
        ("", "is no address, and no name that is known here"),
    ],
)
def test_a_host_that_cannot_be_listened_on_is_one_line_that_says_what_can(engine, host, told):
    assert refused(engine, on(host)) == f"serve: HOST={host} {told}: use {USUAL}"


@pytest.mark.skipif(not may_mount(), reason="unshare may do nothing here")
def test_ipv6_where_the_machine_has_none_is_one_line_that_says_so(engine):
    def command(*arguments):
        return [*UNSHARE, "--net", *serve_command(*arguments)]

    line = refused(engine, on("::1"), command=command)
    assert line == "serve: HOST=::1 needs IPv6, which this machine has not: use 127.0.0.1 or 0.0.0.0"


@NEEDS_IPV6
def test_an_address_with_a_zone_is_one_line(engine):
    host = f"fe80::1%{socket.if_nameindex()[0][1]}"
    line = refused(engine, on(host))
    assert line == f"serve: HOST={host} has a zone, which Triton does not take: use {USUAL}"


@pytest.mark.skipif(not may_mount(), reason="nothing may be mounted here, not even by unshare")
def test_a_name_stands_for_its_address_and_of_two_for_that_of_ipv4(tmp_path):
    (tmp_path / "hosts").write_text("::1 six\n::1 both\n127.0.0.2 both\n")
    ask = "from serving.listening import resolve; print(*map(resolve, ['six', 'both', '[::1]']))"
    script = f'mount --bind "{tmp_path}/hosts" /etc/hosts && exec "$@"'
    command = [*UNSHARE, "sh", "-c", script, "sh", sys.executable, "-c", ask]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["::1", "127.0.0.2", "::1"]


def test_urls_have_brackets_around_ipv6_addresses_and_no_others():
    assert Ports(1, 2, 3, "::1").http_url == "http://[::1]:1"
    assert Ports(1, 2, 3, "::1").metrics_url == "http://[::1]:3/metrics"
    assert netloc("localhost", 2) == "localhost:2"
