# SPDX-License-Identifier: Apache-2.0
"""The real Prometheus, with this repository's rules, scraping a server of a test."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error

import pytest
import yaml

from build_scripts.tritonserver import ROOT
from monitoring.dashboard import ask

MONITORING = ROOT / "monitoring"
UNPACKED = ROOT / "build/prometheus/usr/bin"


def find(program):
    """prometheus or promtool. CI has them (.ci/run); elsewhere their tests may be skipped."""
    found = shutil.which(program) or shutil.which(program, path=UNPACKED)
    if not found and os.environ.get("CI"):
        pytest.fail(f"no {program}: monitoring/get_prometheus.sh did not get it")
    if not found:
        pytest.skip(f"no {program}: run monitoring/get_prometheus.sh (Debian)")
    return found


def configuration(folder, metrics_port):
    """prometheus.yml as it is committed, but for the target and the times: each second, alerts at once."""
    scraping = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    scraping["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = scraping["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["for"] = "0s"
        rule["expr"] = rule["expr"].replace("[2m]", "[5s]")
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scraping))
    return folder / "prometheus.yml"


@contextlib.contextmanager
def scraping(folder, metrics_port):
    """A Prometheus that scrapes each second; the root of its HTTP API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
        process.wait(20)


def answers(url):
    try:
        return ask(url, "query", query="1")
    except (urllib.error.URLError, ConnectionError):
        return None


def until(condition, told, seconds=30):
    """What a condition gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)
    return value
