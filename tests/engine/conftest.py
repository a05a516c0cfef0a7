# SPDX-License-Identifier: Apache-2.0
"""Engines of every kind of this environment in this process, and the fake tensorrt_llm alone."""

import importlib
import os
from pathlib import Path

import pytest

from llm_ensemble.manifest import read_manifest
from tests.engine.submitted import loaded
from tests.fake_engine import fake_checkpoint, fake_engine
from tests.fakes import tensorrt_llm_imported, write_engine
from tests.fakes.asking import PROMPT


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Restore the environment: the tensorrt_llm engine changes that of its process, here of all tests."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def kind(request):
    """Name the engine kind; openvino unless a test sets another."""
    return getattr(request, "param", "openvino")


@pytest.fixture(scope="module")
def engine_dir(kind, tmp_path_factory, request):
    if kind == "vllm":
        return Path(os.environ["TESTED_ENGINE_DIR"])
    demo_engine = request.getfixturevalue("demo_engine")
    if kind == "openvino":
        return demo_engine
    request.getfixturevalue("tensorrt_llm")
    if kind == "tensorrt_llm pytorch":
        os.environ["FAKE_TRTLLM_IR"] = str(demo_engine / "engine")
        return fake_checkpoint(demo_engine, tmp_path_factory.mktemp("fake") / "checkpoint")
    return fake_engine(demo_engine, tmp_path_factory.mktemp("fake") / "engine", lora_rank=8)


@pytest.fixture(scope="module")
def manifest(engine_dir):
    return read_manifest(engine_dir)


@pytest.fixture
def start(engine_dir, manifest):
    """Start an engine, which is closed after the test."""
    engines = []

    def start(manifest=manifest, max_waiting=256, engine_dir=engine_dir, **settings):
        engines.append(loaded(engine_dir, manifest, max_waiting, **settings))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def engine(engine_dir, manifest):
    engine = loaded(engine_dir, manifest)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tensorrt_llm():
    with tensorrt_llm_imported() as module:
        yield module


@pytest.fixture(scope="module")
def start_llm(tensorrt_llm, demo_engine, tmp_path_factory):
    """Start an LLM on a new engine; `built` goes to its build_config."""
    llms = []

    def start_llm(built=None, **arguments):
        built = {"max_beam_width": 4, "gather_generation_logits": True, **(built or {})}
        folder = write_engine(tmp_path_factory.mktemp("engine"), demo_engine / "engine", **built)
        engine_class = importlib.import_module("tensorrt_llm._tensorrt_engine").LLM
        llms.append(engine_class(model=folder, skip_tokenizer_init=True, max_num_tokens=256, **arguments))
        return llms[-1]

    yield start_llm
    for llm in llms:
        llm.shutdown()


@pytest.fixture(scope="module")
def llm(start_llm):
    return start_llm(max_beam_width=4, gather_generation_logits=True)


@pytest.fixture
def params(tensorrt_llm):
    def params(**fields):
        return tensorrt_llm.SamplingParams(**{"end_id": -1, "max_tokens": 8, **fields})

    return params


@pytest.fixture(scope="module")
def greedy(demo_engine):
    """Return the greedy ids of OpenVINO GenAI for the prompt."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    from llm_ensemble.engines.openvino.pipeline import EXACT

    folder = demo_engine / "engine"
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = 32
    pipeline = genai.ContinuousBatchingPipeline(folder, genai.Tokenizer(folder), scheduler, "CPU", **EXACT)
    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos = 8, True
    handle = pipeline.add_request(1, ov.Tensor(np.array([PROMPT], dtype=np.int64)), config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return handle.read_all()[0].generated_ids
