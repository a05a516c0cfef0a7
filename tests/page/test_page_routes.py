# SPDX-License-Identifier: Apache-2.0
"""The page's files and /status, over HTTP; and what a browser makes of the headers."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llm_ensemble.telemetry import names
from openai_frontend.page.page import HERE
from tests.page.scripted_api import make_app, serving
from tests.waiting import wait_for

METRICS = f"""{names.ENGINE_INFO}{{engine="openvino",model="demo",precision="fp16"}} 1
{names.REQUESTS_RUNNING}{{}} 3
{names.MAX_BATCH_SIZE}{{}} 8
"""
FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}


def get(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def status_of(url):
    status, _, body = get(f"{url}/status")
    assert status == 200
    return json.loads(body)


@contextlib.contextmanager
def metrics_server(answer):
    """Serve metrics that a function returns; return their URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = answer().encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("path", "name"), FILES.items())
def test_a_file_is_sent_with_strict_headers(scripted, path, name):
    status, headers, body = get(scripted + path)
    assert (status, body) == (200, (HERE / name).read_bytes())
    policy = headers["Content-Security-Policy"].split("; ")
    assert policy[:2] == ["default-src 'none'", "script-src 'self'"]
    assert {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= {*policy}
    assert not any("unsafe" in part or "http" in part or "*" in part for part in policy)
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", FILES)
def test_a_file_s_headers_can_be_asked_for_alone(scripted, path):
    request = urllib.request.Request(scripted + path, method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert (answer.status, answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_known_is_not_sent_again(scripted, path):
    etag = get(scripted + path)[1]["ETag"]
    for known in (etag, f"W/{etag}", f'"another", {etag}'):
        assert get(scripted + path, **{"If-None-Match": known})[::2] == (304, b"")
    assert get(scripted + path, **{"If-None-Match": '"another"'})[0] == 200


def test_no_script_or_style_runs_but_the_page_s(browser, scripted):
    browser.open_known(scripted)
    blocked = browser.run("""
      window.blocked = [];
      addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "window.ran = 1";
      const image = document.createElement("img");
      image.setAttribute("onerror", "window.ran = 2");
      image.src = "data:,none";
      const style = document.createElement("style");
      style.textContent = "body { opacity: 0.5 }";
      document.body.append(script, image, style);
      fetch("http://127.0.0.2/").catch(() => {});
      return [window.ran, getComputedStyle(document.body).opacity];
    """)
    expected = {"script-src-elem", "script-src-attr", "style-src-elem", "connect-src"}
    wait_for(lambda: expected <= {*browser.run("return blocked")})
    assert blocked == [None, "1"]
    assert browser.run("return window.ran ?? null") is None


def test_another_site_cannot_frame_the_page(browser, script, scripted):
    with serving(make_app(script)) as (other, _):
        browser.open(f"{other}/tokenize")  # any address there without the page's own policy
        browser.run("""
          const frame = document.createElement("iframe");
          frame.src = arguments[0];
          document.documentElement.append(frame);
        """, scripted)  # fmt: skip
        wait_for(lambda: any("frame-ancestors" in line for line in browser.complaints))


def test_the_page_fetches_nothing_from_elsewhere(browser, scripted):
    browser.open_known(scripted)
    names = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert {f"{scripted}/page.js", f"{scripted}/page.css"} <= {*names}
    assert all(name.startswith((f"{scripted}/", "data:")) for name in names)


def test_status_has_the_model_and_what_the_engine_does(server, script):
    with serving(make_app(script, f"http://127.0.0.1:{server.ports.metrics}/metrics")) as (url, _):
        wait_for(lambda: status_of(url)["load"])
        status = status_of(url)
    assert status["model"] == script.names[0]
    assert status["has_chat_template"] is True
    assert status["limits"] == {"max_input_len": 400, "max_seq_len": 512}
    assert status["load"].keys() == {"running", "waiting", "max_running", "max_waiting"}
    assert status["load"]["max_running"] > 0


@pytest.mark.parametrize("metrics_url", [None, "http://127.0.0.1:9/metrics"])
def test_status_without_metrics_has_no_load(script, metrics_url):
    with serving(make_app(script, metrics_url)) as (url, _):
        assert status_of(url)["load"] is None


def test_many_pages_cost_one_scrape_and_block_nothing(script):
    pages, address, scrapes = 5, [], []

    def answer():
        """Answer once all pages have asked and a file has been sent: a loop that waits here sends none."""
        scrapes.append(time.monotonic())
        wait_for(lambda: script.paths["/status"] >= pages)
        assert get(address[0])[0] == 200
        return METRICS

    with metrics_server(answer) as metrics, serving(make_app(script, metrics)) as (url, _):
        address.append(url)
        with ThreadPoolExecutor(pages) as pool:
            loads = [status["load"] for status in pool.map(status_of, [url] * pages)]
        assert loads == [{"running": 3, "waiting": 0, "max_running": 8, "max_waiting": 0}] * pages
        assert len(scrapes) == 1
        wait_for(lambda: status_of(url) and len(scrapes) == 2)
