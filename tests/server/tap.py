# SPDX-License-Identifier: Apache-2.0
"""A step as it is committed, with taps on it; runs in the step's own process.

What an engine makes and what a step remembers reach no client, so they are written down: every chunk of the
engine with its request's id, and every step's state, some fifty times a second. TAP_FOLDER says where to.
TAP_STEP_SECONDS makes each engine step take at least so long: the demo model alone would be done before a
client could leave. A request whose id is "die" makes the next engine step fail, "hang" makes it never end.
"made 7 8" sends token 7, then token 8 for ever, in place of the tokens that the engine makes.
"""

import importlib.util
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from llm_ensemble.ipc import chunks
from llm_ensemble.triton import stages, streams
from serving.tritonserver import MODEL_REPOSITORY

FOLDER = Path(os.environ.get("TAP_FOLDER", "."))
STEP_SECONDS = float(os.environ.get("TAP_STEP_SECONDS", "0"))
PERIOD = 0.02


def tapped(name):
    """The TritonPythonModel of a step, tapped."""
    spec = importlib.util.spec_from_file_location("real_model", MODEL_REPOSITORY / name / "1/model.py")
    real = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(real)

    class TritonPythonModel(real.TritonPythonModel):
        def initialize(self, args):
            if name == "tensorrt_llm":
                streams.StreamOutlet = NamedOutlet
                to = chunks.ChunkSender.to
                chunks.ChunkSender.to = lambda self, owner: logged(to(self, owner))
            super().initialize(args)
            self.instance = stages.instance_number(args)
            if name == "tensorrt_llm":
                self.slow_steps = SlowSteps(self._stage._engine)
            threading.Thread(target=self._write_state, daemon=True).start()

        def execute(self, requests):
            if name == "tensorrt_llm":
                ids = {request.request_id() for request in requests}
                self.slow_steps.die |= "die" in ids
                self.slow_steps.hang |= "hang" in ids
            return super().execute(requests)

        def _write_state(self):
            while True:
                path = FOLDER / f"{name}{self.instance or ''}.json"
                path.with_suffix(".new").write_text(json.dumps(STATES[name](self)))
                path.with_suffix(".new").replace(path)
                time.sleep(PERIOD)

    return TritonPythonModel


def engine_state(model):
    stats = model._stage._engine.stats()
    seen = sys.modules.get("tensorrt_llm._seen")  # the fake's own, of the moment it was imported
    return {
        "open": model._stage.open,
        "running": stats.running,
        "waiting": stats.waiting,
        "steps": model.slow_steps.begun,
        "gpus": seen and seen.CUDA_VISIBLE_DEVICES,
    }


STATES = {
    "tensorrt_llm": engine_state,
    "postprocessing": lambda model: {"open": model._postprocessor.open},
    "ensemble_unary": lambda model: {"open": model._calls.open},
}


class SlowSteps:
    """The engine's pipeline (or that of the fake TensorRT-LLM's executor), in all else the real one."""

    def __init__(self, engine):
        self.die = self.hang = False
        self.begun = None
        holder = getattr(engine._llm, "_executor", None) if hasattr(engine, "_llm") else engine._lanes.base
        if holder:  # vLLM's steps are in another process, where nothing taps them
            self.begun = 0
            self._pipeline = holder._pipeline
            holder._pipeline = self

    def __getattr__(self, name):
        return getattr(self._pipeline, name)

    def step(self):
        if self.die:
            raise RuntimeError("told to die")
        while self.hang:
            time.sleep(1)
        self.begun += 1
        self._pipeline.step()
        time.sleep(STEP_SECONDS)


class NamedOutlet(streams.StreamOutlet):
    """One that remembers the request ids of the open streams, and what their tokens are replaced by."""

    names = {}

    def __init__(self, request):
        super().__init__(request)
        self._id = request.request_id()

    def pulse(self, pulse, **options):
        self.names.setdefault(pulse.stream, (self._id, replacement(self._id)))
        super().pulse(pulse, **options)


def logged(send):
    def log_and_send(chunk):
        request_id, made = NamedOutlet.names.get(chunk.stream, ("", lambda part: part))
        chunk = msgspec.structs.replace(chunk, parts=[made(part) for part in chunk.parts])
        parts = [
            {"index": part.index, "token_ids": part.token_ids, "finish": part.finish} for part in chunk.parts
        ]
        with open(FOLDER / "chunks", "a") as log:
            log.write(json.dumps({"id": request_id, "stream": chunk.stream, "parts": parts}) + "\n")
        if chunk.last:
            NamedOutlet.names.pop(chunk.stream, None)
        send(chunk)

    return log_and_send


def replacement(request_id):
    """What puts the tokens that a request's id names in place of those the engine made."""
    word, *numbers = request_id.split() or [""]
    if word != "made":
        return lambda part: part
    named = itertools.chain(map(int, numbers), itertools.repeat(int(numbers[-1])))
    return lambda part: msgspec.structs.replace(part, token_ids=[next(named) for _ in part.token_ids])
