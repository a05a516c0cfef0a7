# SPDX-License-Identifier: Apache-2.0
"""Which draft is refused, the advice when one does not pay, which requests enter a pipeline with one."""

import json
import logging
from pathlib import Path

import msgspec
import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.draft import ADVICE_TOKENS, DraftSettings, DraftTokens, check_draft
from llm_ensemble.engines.openvino.preflight import check_memory
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.engines.scheduler import ActiveRequest
from llm_ensemble.engines.tensorrt_llm import preflight as tensorrt_llm_preflight
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.engines.vllm.api import engine_arguments
from llm_ensemble.engines.vllm.preflight import check_vocabulary
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import Limits, Manifest, Model, RequestDefaults, write_manifest

MANIFEST = Manifest(
    schema=1,
    engine="openvino",
    model=Model(name="a", revision=None, architecture="OPTForCausalLM"),
    precision="fp16",
    limits=Limits(max_batch_size=4, max_input_len=63, max_seq_len=64, max_num_tokens=16),
    tensor_parallel=1,
    versions={},
    tokenizer_sha256="a",
    defaults=RequestDefaults(max_tokens=1, end_ids=[], pad_id=None),
)
FILES = ("config.json",)


def changed(**changes):
    return msgspec.structs.replace(MANIFEST, **changes)


@pytest.fixture
def make(tmp_path):
    """Make an engine directory with a manifest and a vocabulary."""

    def make(name, manifest=MANIFEST, vocabulary=("a", "b"), vocab_size=2):
        folder = tmp_path / name
        for part in ("engine", "tokenizer"):
            (folder / part).mkdir(parents=True)
        (folder / "engine/config.json").write_text(json.dumps({"vocab_size": vocab_size}))
        model = {"model": {"vocab": {token: place for place, token in enumerate(vocabulary)}}}
        (folder / "tokenizer/tokenizer.json").write_text(json.dumps(model))
        write_manifest(folder, manifest)
        return folder

    return make


def check(engine_dir, draft_dir, **settings):
    check_draft(engine_dir, MANIFEST, DraftSettings(draft_engine_dir=draft_dir, **settings), FILES)


def test_a_draft_with_the_same_tokenizer_passes(make):
    check(make("model"), make("draft"))
    check(make("model2"), None)


def test_one_whose_tokenizer_has_other_files_and_the_same_tokens_passes(make):
    check(make("model"), make("draft", changed(tokenizer_sha256="b")))


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ({"manifest": changed(engine="vllm")}, "is for vllm, the model for openvino"),
        (
            {"manifest": changed(limits=msgspec.structs.replace(MANIFEST.limits, max_seq_len=63))},
            "holds 63 tokens, the model 64",
        ),
        (
            {"manifest": changed(tokenizer_sha256="b"), "vocabulary": ("b", "a")},
            "has another tokenizer than the model",
        ),
    ],
)
def test_a_draft_that_does_not_fit_is_refused_in_one_line(make, made, problem):
    draft = make("draft", **made)
    with pytest.raises(EngineDirectoryError) as refused:
        check(make("model"), draft)
    assert str(refused.value).startswith(f"DRAFT_ENGINE_DIR={draft} {problem}")
    assert "\n" not in str(refused.value)


def test_a_draft_that_is_not_there_or_is_the_model_is_refused(make, tmp_path):
    model = make("model")
    with pytest.raises(EngineDirectoryError, match="^DRAFT_ENGINE_DIR: .*nowhere is not an engine directory"):
        check(model, tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(model)
    with pytest.raises(EngineDirectoryError, match="is the engine directory itself"):
        check(model, tmp_path / "link")
    draft = make("draft")
    (draft / "engine/config.json").unlink()
    with pytest.raises(EngineDirectoryError, match=r"has no engine/config\.json"):
        check(model, draft)


def test_a_draft_and_a_prompt_lookup_together_are_refused(make):
    with pytest.raises(SettingError, match="exclude each other: unset one"):
        check(make("model"), make("draft"), prompt_lookup=True)


def test_weights_that_leave_no_room_are_refused(make):
    model, draft = make("model"), make("draft")
    for folder in (model, draft):
        (folder / "engine/openvino_model.bin").write_bytes(bytes(1000))
    check_memory(model, draft, 4000)
    with pytest.raises(EngineDirectoryError, match="take a smaller draft, or PROMPT_LOOKUP=1"):
        check_memory(model, draft, 3990)


def test_vllm_s_draft_has_as_many_embeddings(make):
    model = make("model")
    check_vocabulary(model, make("same"))
    with pytest.raises(EngineDirectoryError, match=r"a vocab_size of 3 in its config\.json, the model 2"):
        check_vocabulary(model, make("larger", vocab_size=3))


def test_a_built_engine_of_tensorrt_llm_has_no_draft(monkeypatch):
    monkeypatch.setattr(tensorrt_llm_preflight, "check_versions", lambda manifest: None)
    manifest = changed(engine="tensorrt_llm", backend="tensorrt")
    with pytest.raises(SettingError, match="are for the PyTorch backend, this is a built engine"):
        tensorrt_llm_preflight.check(Path("x"), manifest, TensorRtLlmSettings(prompt_lookup=True), {})


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        ({}, None),
        (
            {"prompt_lookup": True},
            {
                "method": "ngram",
                "num_speculative_tokens": 4,
                "prompt_lookup_min": 1,
                "prompt_lookup_max": 3,
            },
        ),
        (
            {"draft_engine_dir": Path("small")},
            {"method": "draft_model", "model": "small/engine", "num_speculative_tokens": 4},
        ),
    ],
)
def test_vllm_s_configuration(settings, config):
    arguments = engine_arguments(Path("model"), MANIFEST, VllmSettings(**settings))
    assert arguments["speculative_config"] == config


@pytest.mark.parametrize(("accepted", "says"), [(0.2, True), (0.5, False)])
def test_the_log_says_once_that_it_does_not_pay(caplog, accepted, says):
    tokens = DraftTokens(DraftSettings(prompt_lookup=True))
    with caplog.at_level(logging.WARNING):
        for _ in range(3 * ADVICE_TOKENS // 100):
            tokens.count(100, int(100 * accepted))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == says
    assert not says or lines[0].startswith(f"of the last {ADVICE_TOKENS} proposed tokens 20 % were accepted")
    assert not says or "unset PROMPT_LOOKUP" in lines[0]


def active(prompt, max_tokens=10):
    return ActiveRequest(GenerationRequest(1, [1] * prompt, Sampling(max_tokens=max_tokens)), lambda _: None)


def gate(blocks=100, **settings):
    from llm_ensemble.engines.openvino.speculation import WholePrompts

    return WholePrompts(MANIFEST.limits, blocks, 32, DraftSettings(**settings))


def entered(a_gate, *requests):
    for request in requests:
        a_gate.put(request)
    return [*a_gate.enter()]


def test_prompts_enter_as_far_as_one_step_computes_them_and_a_longer_one_alone():
    with_draft = gate(draft_engine_dir=Path("draft"))
    long, short, other = active(40), active(8), active(9)
    assert entered(with_draft, long, short, other) == [long]
    assert entered(with_draft) == [short]  # 17 tokens are more than 16
    assert entered(with_draft) == [other]
    assert len(entered(gate(prompt_lookup=True), long, short, other)) == 3


def test_requests_enter_as_far_as_the_kv_cache_holds_all_of_them_to_their_end():
    small = gate(5, prompt_lookup=True)
    first, second, third = active(8), active(8), active(40)  # 2, 2 and 3 blocks
    assert entered(small, first, second, third) == [first, second]
    small.remove(first)
    assert entered(small) == [third]
    waits = active(8)
    assert entered(small, waits) == []
    small.remove(waits)
    small.remove(second)
    assert entered(small) == []
