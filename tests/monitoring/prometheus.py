# SPDX-License-Identifier: Apache-2.0
"""The real Prometheus with this repository's rules, scraping a test's server."""

import contextlib
import os
import shutil
import subprocess
import time
import urllib.error

import pytest
import yaml

from monitoring.dashboard import query_prometheus
from serving.tritonserver import ROOT, free_ports
from tests.conftest import NO_PROMETHEUS
from tests.waiting import SECONDS

MONITORING = ROOT / "monitoring"
UNPACKED = ROOT / "build/prometheus/usr/bin"


def find(program):
    """Return the path of prometheus or promtool, which `make test` gets; without it fail in CI, else skip."""
    found = shutil.which(program) or shutil.which(program, path=UNPACKED)
    if not found and os.environ.get("CI"):
        pytest.fail(f"no {program}: monitoring/get_prometheus.sh did not get it")
    if not found:
        pytest.skip(f"{NO_PROMETHEUS} ({program})")
    return found


NO_FRONTEND = "127.0.0.1:9"  # tritonserver alone is watched


def configuration(folder, metrics_port):
    """Write the committed prometheus.yml with another target, short intervals, and alerts without delay."""
    scraping = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    scraping["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    stages, frontend = scraping["scrape_configs"]
    stages["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
    frontend["static_configs"] = [{"targets": [NO_FRONTEND]}]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["for"] = "0s"
        rule["expr"] = rule["expr"].replace("[2m]", "[5s]")
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scraping))
    return folder / "prometheus.yml"


@contextlib.contextmanager
def scraping(folder, metrics_port):
    """Run a Prometheus that scrapes each second; yield the root of its HTTP API."""
    port = free_ports().http
    command = [
        find("prometheus"),
        f"--config.file={configuration(folder, metrics_port)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), (folder / "log").read_text)
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)


def answers(url):
    try:
        return query_prometheus(url, "query", query="1")
    except (urllib.error.URLError, ConnectionError):
        return None


def until(condition, describe, seconds=SECONDS):
    """Return the first true value of a condition; fail with describe() when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, describe()
        time.sleep(0.2)
    return value
