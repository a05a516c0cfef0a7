# SPDX-License-Identifier: Apache-2.0
"""The real Prometheus scrapes the real server under load: every panel and every alert has data."""

import contextlib
import json
import math
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from monitoring.dashboard import query_prometheus, read_panels
from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, post
from tests.monitoring.prometheus import MONITORING, scraping, until
from tests.processes import descendants

INTERVAL = "10s"  # for rates: ten scrapes
NEEDS_A_GPU = "GPUs (none on a CPU server)"
QUERIES = [(panel.title, query) for panel in read_panels() for query in panel.queries]
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
COMPARISON = re.compile(r"^(.*) > [\d.]+$", re.DOTALL)
LOAD_SECONDS = 240  # at most; it ends with the tests


class Watched:
    """A server under load, and a Prometheus that watches it."""

    def __init__(self, server, url):
        self.server, self.url = server, url
        self._over = threading.Event()
        self._end = time.monotonic() + LOAD_SECONDS

    def query(self, expression):
        """Return the values by their labels, which are JSON."""
        result = query_prometheus(self.url, "query", query=expression)["result"]
        return {json.dumps(one["metric"]): float(one["value"][1]) for one in result}

    def firing(self):
        return {one["labels"]["alertname"] for one in query_prometheus(self.url, "alerts")["alerts"]}

    @contextlib.contextmanager
    def load(self):
        """Completions, rejections of both kinds, timeouts, client disconnects; 13 at once, of which 8 fit."""
        with ThreadPoolExecutor(13) as pool:
            for i in range(12):
                pool.submit(self._send_repeatedly, i)
            pool.submit(self._disconnect_repeatedly)
            try:
                yield
            finally:
                self._over.set()

    def _send_repeatedly(self, i):
        """Every other client streams; the first sends invalid requests, the second short deadlines."""
        fields = {"text_input": "The server", "max_tokens": 200, "ignore_eos": True, "stream": i % 2 == 0}
        fields |= {0: {"max_tokens": 0}, 1: {"deadline_ms": 20}}.get(i, {})
        while not self._over.is_set() and time.monotonic() < self._end:
            post(self.server, "generate_stream" if fields["stream"] else "generate", fields)
            self._over.wait(0.05)

    def _disconnect_repeatedly(self):
        while not self._over.is_set() and time.monotonic() < self._end:
            with GrpcStream(self.server) as stream:
                stream.start(text_input="The server", max_tokens=400, ignore_eos=True, stream=True)
                self._over.wait(0.2)


@pytest.fixture(scope="module")
def watched(tight_engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    with contextlib.ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setenv("MAX_WAITING", "4")
        log = stack.enter_context((folder / "server.log").open("wb"))
        server = stack.enter_context(running(tight_engine, free_ports(), log))
        url = stack.enter_context(scraping(folder, server.ports.metrics))
        server.wait_ready()
        watched = Watched(server, url)
        stack.enter_context(watched.load())
        yield watched


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=lambda value: getattr(value, "legend", value))
def test_every_query_of_the_dashboard_returns_numbers(watched, title, query):
    if title == NEEDS_A_GPU:
        assert not watched.query(query.for_prometheus(INTERVAL))
        return
    expression = query.for_prometheus(INTERVAL)

    def numbers():
        values = watched.query(expression)
        return values and all(map(math.isfinite, values.values())) and values

    values = until(numbers, lambda: f"{expression} gave {watched.query(expression)}")
    names = [query.name(json.loads(labels)) for labels in values]
    assert all(names)
    assert not [name for name in names if "{{" in name], "a legend names a label that does not exist"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_compares_a_number_that_exists(watched, rule):
    assert isinstance(watched.query(rule["expr"]), dict)
    compared = COMPARISON.match(rule["expr"])
    if compared:
        until(lambda: watched.query(compared[1]), lambda: f"nothing: {compared[1]}")


def test_a_frontend_that_does_not_answer_is_alerted(watched):
    until(lambda: "OpenAIFrontendDown" in watched.firing(), watched.firing)


def test_refusals_are_alerted_while_the_server_serves(watched):
    others = {"NoReadyServer", "ServerDown", "NoProgress", "Errors"}  # the first seconds may have had one
    until(lambda: watched.firing() & {"Refusals", *others} == {"Refusals"}, watched.firing)


def test_an_engine_that_hangs_and_a_server_that_is_stopped_are_alerted(watched):
    """Last in this module, since it ends the server. An engine that has ended looks like one that hangs."""
    (engine,) = [one for one in descendants(watched.server.process.pid) if "tensorrt_llm" in one.command]
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        until(lambda: "NoProgress" in watched.firing(), watched.firing)
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    assert not watched.firing() & {"NoReadyServer", "ServerDown"}
    watched.server.stop()
    until(lambda: {"NoReadyServer", "ServerDown"} <= watched.firing(), watched.firing)
