# SPDX-License-Identifier: Apache-2.0
"""The page's files and /status, over HTTP; and what a browser makes of the headers."""

import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openai_frontend.page.page import HERE
from tests.page.scripted_api import make_app, serving
from tests.waiting import wait_for

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


class Metrics:
    """What stands where Triton's metrics are, and counts who asks."""

    def __init__(self):
        metrics = self
        self.scrapes, self.may_answer = 0, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                metrics.scrapes += 1
                metrics.may_answer.wait(60)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"

    def __enter__(self):
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.may_answer.set()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


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
    with Metrics() as metrics, serving(make_app(script, metrics.url)) as (url, _):
        with ThreadPoolExecutor(20) as pages:
            answers = [pages.submit(status_of, url) for _ in range(20)]
            wait_for(lambda: script.paths["/status"] == 20)
            assert get(url)[0] == 200  # while Triton does not answer
            metrics.may_answer.set()
            assert all(answer.result()["load"] is None for answer in answers)
        assert metrics.scrapes == 1
        wait_for(lambda: status_of(url) and metrics.scrapes == 2)
