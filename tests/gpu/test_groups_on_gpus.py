# SPDX-License-Identifier: Apache-2.0
"""Two GPUs: one engine on both (tensor parallel), and an engine on each."""

import concurrent.futures
import os
import re
import shutil
import urllib.request
from pathlib import Path

import msgspec
import pytest

from llm_ensemble.manifest import read_manifest, write_manifest
from llm_ensemble.telemetry import names
from llm_ensemble_client import Client
from serving.tritonserver import free_ports, running
from tests.gpu.notes import gpu_memory, note
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(len(gpu_memory()) < 2, reason="needs two GPUs")

PROMPTS = [f"The {noun} of the {other}" for noun in ("name", "size", "end", "file") for other in "abcdefgh"]


@pytest.fixture(scope="module")
def demo():
    return Path(os.environ["TESTED_ENGINE_DIR"])


@pytest.fixture(scope="module")
def on_one(demo, tmp_path_factory):
    """What one GPU says."""
    return answers(demo, tmp_path_factory.mktemp("one"), "0")[0]


def answers(engine_dir, folder, groups):
    """Return text and log probabilities of each prompt, asked at once, and the tokens of each instance."""
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        patch.setenv("GPU_GROUPS", groups)
        with running(engine_dir, free_ports(), log) as server:
            server.wait_ready()

            def ask(prompt):
                with Client(f"grpc://{server.ports.grpc_netloc}", timeout=120) as client:
                    got = client.generate(prompt, max_tokens=48, ignore_eos=True, return_log_probs=True)
                    return got.text, list(got.output_log_probs[0])

            with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as threads:
                found = [*threads.map(ask, PROMPTS)]
            wait_for(lambda: all(tokens_of(server).values()))  # passed on once a second
            return found, tokens_of(server)


def tokens_of(server):
    """Return the tokens that each instance of the engine stage has generated."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports.metrics}/metrics") as metrics:
        text = metrics.read().decode()
    pattern = rf'^{names.GENERATION_TOKENS}{{[^}}]*instance="(\d)"[^}}]*}} (\S+)$'
    return {found[1]: float(found[2]) for found in re.finditer(pattern, text, re.MULTILINE)}


def test_tensor_parallel_gives_the_text_of_one_gpu_within_the_model_s_precision(demo, on_one, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(demo, both)
    write_manifest(both, msgspec.structs.replace(read_manifest(demo), tensor_parallel=2))
    on_both, _ = answers(both, tmp_path, "0,1")
    equal = [one[0] == two[0] for one, two in zip(on_one, on_both)]
    first = [abs(one[1][0] - two[1][0]) for one, two in zip(on_one, on_both)]
    note("tensor parallel: texts equal to one GPU's", f"{sum(equal)} of {len(equal)}")
    note("tensor parallel: largest difference of a first token's log probability", max(first))
    assert max(first) < 1e-3
    assert sum(equal) >= 0.9 * len(equal)


def test_an_instance_on_each_gpu_gives_the_same_texts_and_both_work(demo, on_one, tmp_path):
    on_each, tokens = answers(demo, tmp_path, "0;1")
    assert [text for text, _ in on_each] == [text for text, _ in on_one]
    note("tokens of each of two instances", tokens)
    assert set(tokens) == {"0", "1"}
