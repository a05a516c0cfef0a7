# SPDX-License-Identifier: Apache-2.0
"""A server whose engine step is the real one with a tap on it.

What the engine made does not reach a client, so the tap writes each chunk down, by request id, on its way to
postprocessing. For a request without id, or whose id begins with "slow", it also takes its time, so that a
test can do something while the engine works: the demo model alone would be done before a client could leave.
"""

import json
import shutil

import pytest

from build_scripts.tritonserver import MODEL_REPOSITORY, free_ports, running

TAP = """
import importlib.util
import json
import time

from llm_ensemble import triton

spec = importlib.util.spec_from_file_location("real_model", {real!r})
real_model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real_model)
TritonPythonModel = real_model.TritonPythonModel
chunk_sender = triton.chunk_sender


def tapped(request):
    send, request_id = chunk_sender(request), request.request_id()

    def tap(chunk):
        with open({log!r}, "a") as log:
            line = {{"id": request_id, "token_ids": chunk.token_ids, "finish": chunk.finish}}
            log.write(json.dumps(line) + "\\n")
        send(chunk)
        if not request_id or request_id.startswith("slow"):
            time.sleep(0.02)

    return tap


triton.chunk_sender = tapped
"""


@pytest.fixture(scope="session")
def tapped(demo_engine, tmp_path_factory):
    """The tapped server, and a function that gives the chunks of a request so far."""
    folder = tmp_path_factory.mktemp("tapped")
    repository, tap, log = folder / "models", folder / "chunks", folder / "log"
    shutil.copytree(MODEL_REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    real = str(MODEL_REPOSITORY / "tensorrt_llm/1/model.py")
    (repository / "tensorrt_llm/1/model.py").write_text(TAP.format(real=real, log=str(tap)))

    def chunks(request_id):
        lines = [json.loads(line) for line in tap.read_text().splitlines()]
        return [line for line in lines if line["id"] == request_id]

    with log.open("wb") as file, running(demo_engine, free_ports(), file, repository) as server:
        server.wait_ready()
        yield server, chunks
