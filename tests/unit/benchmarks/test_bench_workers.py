# SPDX-License-Identifier: Apache-2.0
"""The processes that ask; no server."""

import pytest

from benchmarks.bench.cpu import family
from benchmarks.bench.driver import Target
from benchmarks.bench.load import Load, shares
from benchmarks.bench.record import Request
from benchmarks.bench.workers import Workers
from benchmarks.pace.make_engine import make_pace_engine
from llm_ensemble.manifest import read_manifest, write_manifest
from tests.engine.submitted import changed
from tests.waiting import wait_for
from tests.working_engine.kind import NAME


@pytest.fixture
def working(tmp_path, monkeypatch):
    """Workers of a bare engine that has a process of its own."""
    monkeypatch.setenv("PACE_TTFT_MS", "4000")
    folder = make_pace_engine(tmp_path / "engine")
    write_manifest(folder, changed(read_manifest(folder), engine=NAME))
    workers = Workers(Target("raw engine", "engine", str(folder), True, is_baseline=True))
    yield workers
    workers.close()


def test_what_a_bare_engine_has_started_is_in_its_cpu_and_ends_with_it(working):
    dealt = shares(Load(concurrency=1), [Request("a b", 4)], [Request("a b", 1)], 1, 0, 60)
    run = working.run(dealt, lambda: None)
    (asking,) = working.processes
    started = family(asking.pid)[1:]
    assert [record.error for record in run.records] == [""]
    assert run.server_cpu > 0.2, "of four seconds in which the process beside the engine did nothing but work"
    working.close()
    wait_for(lambda: not any(len(family(pid)) > 1 or is_alive(pid) for pid in started))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
