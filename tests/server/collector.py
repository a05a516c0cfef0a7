# SPDX-License-Identifier: Apache-2.0
"""A fake OpenTelemetry collector: takes OTLP over HTTP, as JSON, and keeps the spans."""

import contextlib
import http.server
import json
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Span:
    trace: str
    id: str
    parent: str
    name: str
    start: int  # nanoseconds
    end: int
    attributes: dict
    events: tuple


@dataclass
class Collector:
    url: str
    spans: list = field(default_factory=list)
    resources: list = field(default_factory=list)

    def trace(self, id):
        """Return the spans of one trace, by name."""
        return {span.name: span for span in list(self.spans) if span.trace == id}

    def export(self, request):
        for resource_spans in request["resourceSpans"]:
            self.resources.append(attributes_of(resource_spans["resource"]))
            for scope in resource_spans["scopeSpans"]:
                self.spans += map(as_span, scope["spans"])


def as_span(span):
    return Span(
        span["traceId"],
        span["spanId"],
        span.get("parentSpanId", ""),
        span["name"],
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        attributes_of(span),
        tuple(event["name"] for event in span.get("events", ())),
    )


def attributes_of(message):
    return {one["key"]: next(iter(one["value"].values())) for one in message.get("attributes", ())}


@contextlib.contextmanager
def collector():
    """Run a collector on a free port while the context is open; its url is for an exporter."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json":
                collected.export(json.loads(body))
                self.send_response(200)
            else:
                self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collected = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
