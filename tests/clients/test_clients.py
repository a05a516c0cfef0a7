# SPDX-License-Identifier: Apache-2.0
"""Other clients, unmodified, in a separate environment: make clients-test; see docs/clients.md.

NVIDIA's end_to_end_grpc_client.py is in no package: NVIDIA_CLIENT is its path.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from tests.asking import generate
from tests.clients.running import PROMPT, answers, run

NVIDIA_CLIENT = os.environ.get("NVIDIA_CLIENT", "")
NVIDIA_SECONDS = 60


@pytest.fixture(scope="module")
def http(server):
    return f"{server.ports.host}:{server.ports.http}"


@pytest.fixture(scope="module")
def grpc(server):
    return f"{server.ports.host}:{server.ports.grpc}"


def greedy(server, tokens):
    return generate(server, PROMPT, max_tokens=tokens)["text_output"]


def test_tritonclient(server, http, grpc):
    texts = answers("ask_tritonclient.py", http, grpc, PROMPT)
    assert texts == dict.fromkeys(
        ("http", "http gzip", "grpc", "grpc stream", "grpc.aio", "http.aio"), greedy(server, 8)
    )


def test_llama_index_drops_the_last_token(server, grpc):
    """It stops reading at one response less than the tokens it asked for."""
    texts = answers("ask_llama_index.py", grpc, PROMPT)
    assert texts["complete"] == texts["stream_complete"]
    assert texts["complete"]
    assert greedy(server, 9).startswith(texts["complete"])


def test_litellm(server, http):
    texts = answers("ask_litellm.py", http, PROMPT)
    assert texts == dict.fromkeys(("completion", "stream", "acompletion"), greedy(server, 8))


def test_transformers_4_loads_an_engine_s_tokenizer(demo_engine):
    text = "The server said: naïve 日本"
    ids = answers("load_tokenizer.py", demo_engine / "tokenizer", text)
    assert ids == load_tokenizer(demo_engine).encode(text).ids


@pytest.mark.skipif(
    not NVIDIA_CLIENT, reason="make clients-test NVIDIA_CLIENT=path/to/end_to_end_grpc_client.py"
)
class TestNvidia:
    """end_to_end_grpc_client.py of tensorrtllm_backend v0.19.0; it exits 0 whatever the server answers.

    Sometimes it prints everything and does not exit (docs/clients.md); the tests check what it printed.
    """

    @pytest.fixture
    def ask(self, grpc):
        def ask(*options, prompt=PROMPT):
            try:
                return run(
                    Path(NVIDIA_CLIENT), "-u", grpc, "-o", 8, "-p", prompt, *options, seconds=NVIDIA_SECONDS
                )
            except subprocess.TimeoutExpired as late:
                if not late.stdout:
                    raise
                return late.stdout.decode()

        return ask

    def test_unary(self, ask, server):
        """Its default temperature is 1, and by default it requests the prompt before the text."""
        assert ask("--temperature", 0) == f"0: {PROMPT}{greedy(server, 8)}\n"
        assert ask("--temperature", 0, "--exclude-input-in-output") == f"0: {greedy(server, 8)}\n"

    def test_streaming(self, ask, server):
        assert ask("-S", "--temperature", 0).endswith(f"]\n{PROMPT}{greedy(server, 8)}\n")

    @pytest.mark.parametrize(
        "options",
        [
            ("--repetition-penalty", 1.5),
            ("--stop-words", "zzz", "yyy"),
            ("--end-id", 5),
            ("--pad-id", 50_256),
            ("--exclude-input-in-output",),
            ("--request-id", "one"),
            ("--batch-inputs",),
            ("-n", 1),
            ("-n", 2),
            ("--overwrite-output-text", "-S"),
            ("--presence-penalty", 0, "--frequency-penalty", 0),
        ],
        ids=lambda options: options[0],
    )
    def test_every_option_that_is_served(self, ask, options):
        assert "Received an error" not in ask(*options)

    def test_beams(self, ask):
        assert ask("-b", 2, "--temperature", 0).startswith("0 [0]: ")

    def test_log_probs(self, ask):
        told = ask("--return-log-probs")
        assert "output_log_probs.shape: (1, 1, 8)" in told

    def test_two_prompts(self, ask, server):
        told = ask("--temperature", 0, prompt=json.dumps([PROMPT, PROMPT]))
        assert told == f"0: {PROMPT}{greedy(server, 8)}\n" * 2

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--return-context-logits",), "return_context_logits: logits are not returned"),
            (("--return-generation-logits",), "return_generation_logits: logits are not returned"),
            (("--return-perf-metrics",), "return_perf_metrics: a request's metrics are not returned"),
            (("--lora-task-id", "3"), "lora_task_id: no adapters are served here"),
            (
                ("--guided-decoding-guide-type", "json", "--guided-decoding-guide", "{}"),
                "guided_decoding_guide",
            ),
            (
                ("--embedding-bias-words", "a", "--embedding-bias-weights", "1"),
                "embedding_bias_",
            ),
            (("--bad-words", "manager"), "bad_words: the openvino engine keeps out words of one token alone"),
            (("-b", "2"), "beam_width: the openvino engine does not sample in a beam search"),
        ],
    )
    def test_an_unsupported_field_is_rejected_by_name(self, ask, options, told):
        assert f"in ensemble 'ensemble', {told}" in ask(*options)
