# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters: every engine generates with each what transformers with PEFT does, whatever is beside it.

In FP32, as all engines of these tests compute. The adapters are made by tests/lora/make.py. vLLM runs this
module in its own environment (test_vllm.py).
"""

import pytest

from llm_ensemble.errors import RequestError
from tests.engine.submitted import KINDS, Submitted, loaded

pytestmark = pytest.mark.parametrize("kind", KINDS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def adapted(engine_dir, lora):
    engine = loaded(engine_dir, lora_dir=lora.adapters)
    yield engine
    engine.close()


def ids_and_log_probs(submitted):
    received = submitted.rest()
    ids = [one for tokens in received for one in tokens.token_ids]
    return ids, [one for tokens in received for one in tokens.log_probs]


def test_each_adapter_gives_the_tokens_and_log_probabilities_of_transformers_and_peft(adapted, lora):
    """Scaling by alpha over rank and over its root; weights in FP32 and in BF16."""
    assert len({tuple(ids) for ids in lora.ids.values()}) == len(lora.ids), "the adapters change no texts"
    for name in lora.names:
        ids, log_probs = ids_and_log_probs(Submitted(adapted, 1, log_probs=True, lora=name))
        assert ids == lora.ids[name], name
        assert log_probs == pytest.approx(lora.log_probs[name], abs=2e-3), name


def test_requests_of_all_adapters_and_of_none_run_at_once_and_do_not_change_each_other(adapted, lora):
    """One prompt for all: what one has cached of it must not serve another."""
    requests = [(name, Submitted(adapted, i, lora=name)) for i, name in enumerate(lora.names * 3)]
    assert [one.ids() for _, one in requests] == [lora.ids[name] for name, _ in requests]


def test_a_prompt_that_is_cached_for_one_adapter_is_not_for_another(adapted, lora):
    prompt = [0, *range(300, 400)]
    cold = {name: Submitted(adapted, 1, prompt, lora=name).ids() for name in lora.names}
    assert len({tuple(ids) for ids in cold.values()}) > 1
    for name in reversed(lora.names):
        assert Submitted(adapted, 1, prompt, lora=name).ids() == cold[name]


def test_sampling_several_sequences_and_aborts_work_with_an_adapter(adapted, lora):
    sampling = {"greedy": False, "temperature": 1.0, "num_return_sequences": 3, "seed": 5, "lora": "blue"}
    first = Submitted(adapted, 1, **sampling).sequences()
    assert Submitted(adapted, 2, **sampling).sequences() == first
    assert len({tuple(ids) for ids in first}) > 1
    left = Submitted(adapted, 3, max_tokens=400, lora="red")
    left.next()
    adapted.abort(3)
    assert left.rest()[-1].finish == "cancelled"
    assert Submitted(adapted, 4, lora="red").ids() == lora.ids["red"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gren", "lora_name: there is no 'gren'; did you mean 'green'? Served are 7, blue, green, red"),
        ("x" * 1000, f"lora_name: there is no '{'x' * 64}'; Served are 7, blue, green, red"),
        ("../7", "lora_name: there is no '../7'"),
    ],
)
def test_an_unknown_adapter_is_refused_with_the_nearest_and_all_there_are(adapted, name, message):
    with pytest.raises(RequestError) as refused:
        Submitted(adapted, 1, lora=name)
    assert str(refused.value).startswith(message)


def test_without_a_folder_of_adapters_each_is_refused(engine):
    with pytest.raises(RequestError, match="lora_task_id: no adapters are served here"):
        Submitted(engine, 1, lora="7", lora_field="lora_task_id")
