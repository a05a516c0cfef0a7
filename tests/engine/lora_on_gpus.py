# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters with vLLM on a GPU, whose kernels for them take fp16 and bf16 alone.

Run by `make gpu-test`; HALF_ENGINE_DIR is an engine directory of models/demo in fp16. What transformers with
PEFT generates in fp32 can then be followed as far as no two tokens are nearly as probable.
"""

import os
from pathlib import Path

import pytest

from llm_ensemble.engines.vllm.environment import is_cpu
from llm_ensemble.errors import SettingError
from tests.engine.submitted import Submitted, loaded

NEAR = 0.05  # of log probabilities


@pytest.fixture(scope="module")
def adapted(lora):
    engine = loaded(Path(os.environ["HALF_ENGINE_DIR"]), lora_dir=lora.adapters)
    yield engine
    engine.close()


def follows(submitted, lora, name):
    """Return how many tokens are those of PEFT; check their log probabilities, and the first other one's."""
    received = submitted.rest()
    ids = [one for tokens in received for one in tokens.token_ids]
    log_probs = [one for tokens in received for one in tokens.log_probs]
    same = next((i for i, pair in enumerate(zip(ids, lora.ids[name])) if len({*pair}) > 1), len(ids))
    assert log_probs[: same + 1] == pytest.approx(lora.log_probs[name][: same + 1], abs=NEAR), name
    return same


def test_each_adapter_generates_what_peft_does_alone_and_beside_all_others(adapted, lora):
    alone = [follows(Submitted(adapted, 1, log_probs=True, lora=name), lora, name) for name in lora.names]
    names = lora.names * 3
    beside = [Submitted(adapted, i, log_probs=True, lora=name) for i, name in enumerate(names)]
    together = [follows(one, lora, name) for one, name in zip(beside, names)]
    tokens = len(lora.ids[""])
    assert sum(alone) > 0.5 * tokens * len(alone), alone
    assert sum(together) > 0.5 * tokens * len(together), together


@pytest.mark.skipif(is_cpu(), reason="the build for CPUs has LoRA in fp32")
def test_an_engine_in_fp32_is_refused_with_what_to_do(lora):
    with pytest.raises(
        SettingError, match="LORA_DIR: vLLM has adapters on GPUs in fp16 and bf16 alone; build"
    ):
        loaded(Path(os.environ["TESTED_ENGINE_DIR"]), lora_dir=lora.adapters)
