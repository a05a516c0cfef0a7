# SPDX-License-Identifier: Apache-2.0
"""Engines of both kinds in this process, and the fake tensorrt_llm by itself."""

import importlib

import numpy as np
import openvino as ov
import openvino_genai as genai
import pytest

from llm_ensemble.engines.base import load_engine
from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import Settings
from tests.fake_engine import fake_engine
from tests.fakes import tensorrt_llm_imported, write_engine
from tests.fakes.asking import PROMPT


@pytest.fixture(scope="module")
def kind(request):
    """Which engine; OpenVINO's, where a test does not say."""
    return getattr(request, "param", "openvino")


@pytest.fixture(scope="module")
def engine_dir(kind, demo_engine, tmp_path_factory, request):
    if kind == "openvino":
        return demo_engine
    request.getfixturevalue("tensorrt_llm")
    return fake_engine(demo_engine, tmp_path_factory.mktemp("fake") / "engine")


@pytest.fixture(scope="module")
def manifest(engine_dir):
    return read_manifest(engine_dir)


@pytest.fixture
def start(engine_dir, manifest):
    """Start an engine; all that were started are closed in the end."""
    engines = []

    def start(manifest=manifest, max_waiting=256, engine_dir=engine_dir):
        engines.append(load_engine(manifest, Settings(engine_dir=engine_dir, max_waiting=max_waiting)))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def engine(engine_dir, manifest):
    engine = load_engine(manifest, Settings(engine_dir=engine_dir))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tensorrt_llm():
    with tensorrt_llm_imported() as module:
        yield module


@pytest.fixture(scope="module")
def start_llm(tensorrt_llm, demo_engine, tmp_path_factory):
    """Start an LLM on an engine of its own; the names in `built` go to its build_config."""
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
    """OpenVINO GenAI's own greedy ids for the prompt."""
    folder = demo_engine / "engine"
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = 32
    pipeline = genai.ContinuousBatchingPipeline(folder, genai.Tokenizer(folder), scheduler, "CPU")
    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos = 8, True
    handle = pipeline.add_request(1, ov.Tensor(np.array([PROMPT], dtype=np.int64)), config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return handle.read_all()[0].generated_ids
