# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from llm_ensemble.telemetry import metrics as metrics_module
from llm_ensemble.telemetry.metrics import Metrics
from tests.fake_pb_utils import MetricFamily
from tests.waiting import wait_for


class Families(dict):
    """What Triton would have, by name."""

    def __call__(self, kind, name, description):
        assert name not in self, "a family is made once"
        self[name] = MetricFamily(name, description, getattr(MetricFamily, kind))
        return self[name]

    def value(self, name, **labels):
        return self[name].metrics[tuple(sorted(labels.items()))].value

    def seen(self, name, **labels):
        return self[name].metrics[tuple(sorted(labels.items()))].seen


@pytest.fixture
def families():
    return Families()


@pytest.fixture
def metrics(families):
    return Metrics(families)


def test_a_counter_is_handed_over_once(families, metrics):
    counter = metrics.counter("c_total", "words", why="x")
    counter.add()
    counter.add(4)
    assert families.value("c_total", why="x") == 0
    metrics.flush()
    metrics.flush()
    assert families.value("c_total", why="x") == 5


def test_a_gauge_is_handed_over_when_it_has_changed(families, metrics, monkeypatch):
    gauge = metrics.gauge("g", "words")
    told = []
    monkeypatch.setattr(families["g"].metrics[()], "set", told.append)
    for value in (0, 3, 3, 0):
        gauge.set(value)
        metrics.flush()
    assert told == [3, 0]


def test_a_histogram_gets_every_value(families, metrics):
    histogram = metrics.histogram("h", "words", (1, 2))
    for value in (0.5, 9):
        histogram.observe(value)
    metrics.flush()
    metrics.flush()
    assert families.seen("h") == [0.5, 9]


def test_the_thread_hands_over_at_the_start_now_and_then_and_at_the_end(families, metrics, monkeypatch):
    monkeypatch.setattr(metrics_module, "FLUSH_SECONDS", 0.01)
    counter = metrics.counter("c_total", "words")
    counter.add()
    metrics.start()
    assert families.value("c_total") == 1
    counter.add()
    wait_for(lambda: families.value("c_total") == 2)
    monkeypatch.setattr(metrics_module, "FLUSH_SECONDS", 1000)
    time.sleep(0.05)
    counter.add()
    metrics.close()
    assert families.value("c_total") == 3


def test_a_job_that_fails_is_told_and_keeps_nothing_from_the_next_time(
    families, metrics, monkeypatch, caplog
):
    monkeypatch.setattr(metrics_module, "FLUSH_SECONDS", 0.01)
    counter = metrics.counter("c_total", "words")
    metrics.start()
    failures = [ValueError("once")]
    metrics.each_second(lambda: (_ for _ in ()).throw(failures.pop()) if failures else None)
    wait_for(lambda: not failures)
    counter.add()
    wait_for(lambda: families.value("c_total") == 1)
    metrics.close()
    assert "metrics could not be handed over" in caplog.text
