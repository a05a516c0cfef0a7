# SPDX-License-Identifier: Apache-2.0
"""What the frontend tells of requests: metrics and lines of the log; and what that costs."""

import asyncio
import json
import time

import pytest

from openai_frontend.protection.protect import protect
from openai_frontend.settings import FrontendSettings
from openai_frontend.telemetry.metrics import Metrics
from openai_frontend.telemetry.observe import Observed
from openai_frontend.telemetry.request_log import RequestLog
from tests.openai.protected import error_of, protected
from tests.scraping import Scrape
from tests.waiting import wait_for

REQUESTS = "llm_openai_requests_total"


@pytest.fixture
def server():
    with protected(FrontendSettings(openai_max_body=1000)) as server:
        yield server


def scraped(server):
    status, headers, body = server.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    return Scrape(body.decode())


def counts(server):
    """Return the requests that are counted, by route, method and status."""
    samples = scraped(server).of(REQUESTS)
    return {(one.labels["route"], one.labels["method"], one.labels["status"]): one.value for one in samples}


def test_requests_are_counted_by_route_method_and_status(server):
    for _ in range(2):
        server.ask("GET", "/v1/models")
    server.ask("POST", "/v1/length", b"a" * 1001)
    server.ask("GET", "/v1/names/anna")
    server.ask("GET", "/v1/names/bert")
    server.ask("POST", "/v1/models")
    for path in ("/no", "/such/route"):
        server.ask("GET", path)
    server.ask("PATCH", "/v1/models")
    assert counts(server) == {
        ("/v1/models", "GET", "200"): 2,
        ("/v1/length", "POST", "413"): 1,
        ("/v1/names/{name}", "GET", "200"): 2,
        ("/v1/models", "POST", "405"): 1,
        ("other", "GET", "404"): 2,
        ("/v1/models", "other", "405"): 1,
    }


def test_what_is_in_flight_lasts_and_leaves_is_measured(server):
    with server.connect() as streaming:
        streaming.sendall(b"GET /v1/stream?0.01 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert streaming.recv(10)
        seen = scraped(server)
        assert seen.value("llm_openai_requests_in_flight") == 2  # and the scrape itself
        assert seen.value("llm_openai_connections") == 2
    wait_for(lambda: scraped(server).value("llm_openai_requests_in_flight") == 1)
    seen = scraped(server)
    assert seen.value("llm_openai_disconnects_total", route="/v1/stream") == 1
    assert seen.value("llm_openai_request_duration_seconds_count", route="/v1/stream") == 1
    assert seen.value(REQUESTS, route="/v1/stream", status="200") == 1
    assert seen.value("process_resident_memory_bytes") > 0


def test_a_failing_app_is_an_error_in_openai_s_form_and_counted(server, capfd):
    status, _, body = server.ask("POST", "/v1/fails")
    assert status == 500
    assert error_of(body) == {
        "message": "internal error; the server's log has the details",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert counts(server)["/v1/fails", "POST", "500"] == 1
    assert 'route="/v1/fails" status=500' in capfd.readouterr().err


def lines(capfd):
    """Return the lines of the log as JSON."""
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_request_has_a_line_with_its_id_and_what_the_app_adds(capfd):
    with protected(log_format="json") as server:
        _, headers, _ = server.ask("GET", "/v1/names/anna", headers={"X-Request-Id": 'a"b'})
        assert headers.get_all("x-request-id") == ['a"b']
        _, headers, _ = server.ask("GET", "/v1/models")
        server.ask("GET", "/health")
        server.ask("GET", "/metrics")
    first, second = lines(capfd)
    assert first.pop("time").endswith("Z")
    assert 0 <= first.pop("duration_ms") < 10_000
    expected = {"event": "openai", "id": 'a"b', "method": "GET", "route": "/v1/names/{name}", "status": 200}
    assert first == expected | {"whole": True, "user": "anna"}
    assert second["id"] == headers["x-request-id"]
    assert second["id"].startswith("req-")


def test_refusals_share_a_line_a_second(capfd):
    with protected(FrontendSettings(openai_api_keys=("key",)), log_format="json") as server:
        for _ in range(20):
            server.ask("GET", "/v1/models", headers={"X-Request-Id": "x"})
        server.ask("GET", "/no", headers={"Authorization": "Bearer key", "X-Request-Id": "last"})
    written = lines(capfd)
    assert len(written) <= 3
    assert {line["event"] for line in written} == {"openai_refused"}
    assert sum(line.get("status_401", 0) for line in written) == 20
    assert written[-1]["status_404"] == 1
    assert (written[-1]["last_route"], written[-1]["last_id"]) == ("other", "last")


def test_the_text_form_is_that_of_the_stages(capfd):
    with protected() as server:
        server.ask("GET", "/v1/models", headers={"X-Request-Id": 'x"y'})
    (line,) = capfd.readouterr().err.splitlines()
    assert ' openai id="x\\"y" method="GET" route="/v1/models" status=200 whole=true duration_ms=' in line


def test_an_event_of_a_stream_costs_next_to_nothing():
    """A microsecond or two: here with room for a busy machine."""
    events = 20_000
    body = {"type": "http.response.body", "body": b"x", "more_body": True}

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(events):
            await send(body)
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    def seconds(whole):
        scope = {"type": "http", "path": "/v1/models", "method": "GET"}
        scope["headers"] = [(b"authorization", b"Bearer key")]
        started = time.perf_counter()
        asyncio.run(whole(scope, receive, send))
        return time.perf_counter() - started

    settings = FrontendSettings(openai_api_keys=("key",))
    log = RequestLog(lambda event, fields: None)
    whole = Observed(protect(app, settings), Metrics(), log, ())
    bare = min(seconds(app) for _ in range(5))
    assert (min(seconds(whole) for _ in range(5)) - bare) / events < 2e-6
