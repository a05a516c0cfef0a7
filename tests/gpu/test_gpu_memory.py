# SPDX-License-Identifier: Apache-2.0
"""GPU memory that tritonserver takes by itself: its models are all KIND_CPU, and so is this engine."""

import os
import time

import pytest

from benchmarks.pace.make_engine import make_pace_engine
from serving import tritonserver
from serving.tritonserver import free_ports, running
from tests.gpu.notes import gpu_memory, note

HIDDEN = "as it is, with no GPU visible"
SEEN = {"GPU_METRICS": "1"}
POOLS = ("--cuda-memory-pool-byte-size=0:0", "--pinned-memory-pool-byte-size=0")
PEERS = ("--enable-peer-access=false",)
WAYS = {
    HIDDEN: ((), {}),
    "with GPU metrics": ((), SEEN),
    "with GPUs visible, not measured": (("--allow-gpu-metrics=false",), SEEN),
    "with GPU metrics, without memory pools": (POOLS, SEEN),
    "with GPU metrics, without peer access": (PEERS, SEEN),
    "with GPU metrics, without both": ((*POOLS, *PEERS), SEEN),
}


@pytest.mark.skipif(not gpu_memory(), reason="no nvidia-smi")
@pytest.mark.parametrize("way", WAYS)
def test_the_gpu_memory_that_tritonserver_takes_is_noted(tmp_path, monkeypatch, way):
    options, environ = WAYS[way]
    trace_options = tritonserver.trace_options
    monkeypatch.setattr(tritonserver, "trace_options", lambda settings: [*trace_options(settings), *options])
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    before = gpu_memory()
    folder = make_pace_engine(tmp_path / "pace")
    for name in ("ENGINE_PYTHON", "GPU_MEMORY_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    with (tmp_path / "log").open("wb") as log, running(folder, free_ports(), log) as server:
        server.wait_ready()
        time.sleep(0.5)
        taken = [after - one for one, after in zip(before, gpu_memory())]
    note(f"tritonserver {way}: MiB taken on each GPU", taken)
    assert (os.path.exists("/dev/nvidiactl") and way != HIDDEN) or not any(taken)
