# SPDX-License-Identifier: Apache-2.0
"""The fake of tensorrt_llm computes tokens and returns them as 1.2.1 does."""

import asyncio
import importlib
import json
import logging

import numpy as np
import pytest

from tests.fakes.asking import PROMPT, finish, stream


def test_its_greedy_ids_are_openvino_genais(llm, params, greedy):
    output = finish(llm, params())
    assert output.finished
    assert output.prompt is None
    assert output.prompt_token_ids == PROMPT
    assert output.outputs[0].token_ids == greedy
    assert (output.outputs[0].text, output.outputs[0].finish_reason) == ("", "length")


def test_a_stream_grows_by_its_diffs_in_one_object(llm, params, greedy):
    diffs = []
    seen, _ = stream(llm, params(), at_step=lambda _, output: diffs.extend(output.outputs[0].token_ids_diff))
    assert seen == [greedy[:length] for length in range(1, 9)]
    assert diffs == greedy


def test_a_unary_request_has_one_response(llm, params):
    async def run():
        return [step.outputs[0].length async for step in llm.generate_async(PROMPT, params())]

    assert asyncio.run(run()) == [8]


def test_the_end_token_is_left_out_unless_the_environment_keeps_it(llm, params, greedy, monkeypatch):
    end = greedy.index(greedy[4])
    assert finish(llm, params(end_id=greedy[4])).outputs[0].token_ids == greedy[:end]
    monkeypatch.setenv("FAKE_TRTLLM_KEEP_END_TOKEN", "1")
    kept = finish(llm, params(end_id=greedy[4])).outputs[0]
    assert (kept.token_ids, kept.finish_reason, kept.stop_reason) == (greedy[: end + 1], "stop", None)


def test_a_stop_word_cuts_what_was_already_streamed(llm, params, greedy):
    stopping = params(stop="ab")
    stopping._stop_word_ids = [greedy[2:4]]
    seen, output = stream(llm, stopping)
    assert seen == [greedy[:1], greedy[:2], greedy[:3], greedy[:2]]
    assert (output.outputs[0].finish_reason, output.outputs[0].stop_reason) == ("stop", "ab")


def test_a_stop_token_is_kept_when_stop_strings_are_included(llm, params, greedy):
    kept = finish(llm, params(stop_token_ids=[greedy[3]], include_stop_str_in_output=True)).outputs[0]
    assert (kept.token_ids, kept.stop_reason) == (greedy[:4], greedy[3])


def test_no_token_ends_a_beam_search_with_end_id_minus_one(llm, params):
    beams = finish(llm, params(n=4, use_beam_search=True)).outputs
    assert [beam.finish_reason for beam in beams] == ["length"] * 4


def test_beams_come_best_first_and_n_of_best_of(llm, params):
    two = finish(llm, params(n=2, best_of=4, use_beam_search=True, logprobs=1)).outputs
    assert [beam.index for beam in two] == [0, 1]
    assert two[0].cumulative_logprob >= two[1].cumulative_logprob


def test_of_best_of_samples_the_most_probable_stay(llm, params):
    sampling = {"temperature": 1.0, "top_p": 0.9, "seed": 4}
    scores = [one.cumulative_logprob for one in finish(llm, params(n=2, best_of=4, **sampling)).outputs]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 2


def test_seed_none_is_seed_zero(llm, params):
    ids = [
        finish(llm, params(temperature=1.0, top_p=1.0, **more)).outputs[0].token_ids
        for more in ({}, {"seed": 0})
    ]
    assert ids[0] == ids[1]


def test_log_probabilities_come_one_a_token(llm, params):
    one = finish(llm, params(logprobs=True)).outputs[0]
    assert [list(chosen) for chosen in one.logprobs] == [[token_id] for token_id in one.token_ids]
    assert one.cumulative_logprob == sum(chosen[i].logprob for chosen, i in zip(one.logprobs, one.token_ids))


def test_several_log_probabilities_are_those_of_the_most_probable_ones_and_the_chosen(llm, params):
    one = finish(llm, params(logprobs=3)).outputs[0]
    for token_id, known in zip(one.token_ids, one.logprobs):
        assert len(known) == 3
        assert max(known, key=lambda known_id: known[known_id].logprob) == token_id


def test_log_probabilities_need_the_constructor_and_the_engine(start_llm, params):
    with pytest.raises(ValueError, match="in LLM"):
        finish(start_llm(), params(logprobs=1))
    with pytest.raises(ValueError, match="built with"):
        finish(
            start_llm({"gather_generation_logits": False}, gather_generation_logits=True), params(logprobs=1)
        )


def test_the_check_goes_by_the_engines_beams_and_the_executor_by_the_runtimes(
    start_llm, tensorrt_llm, params
):
    narrow = start_llm()  # max_beam_width is left out, which makes it 1
    error = importlib.import_module("tensorrt_llm.executor.utils").RequestError
    with pytest.raises(error, match="beam width 2 exceeds the executor's 1"):
        finish(narrow, params(n=2, use_beam_search=True))
    with pytest.raises(ValueError, match="max_beam_width 4"):
        finish(narrow, params(n=5, use_beam_search=True))


def test_more_samples_than_the_batch_are_refused(llm, params):
    with pytest.raises(ValueError, match="max_batch_size 4"):
        finish(llm, params(n=5, temperature=1.0, top_p=1.0))


def test_over_length_is_refused_unless_prefill_is_chunked(llm, start_llm, params, caplog):
    with pytest.raises(ValueError, match="max_seq_len 512"):
        finish(llm, params(max_tokens=508))
    with caplog.at_level(logging.WARNING, logger="tensorrt_llm"):
        output = finish(start_llm({"max_seq_len": 16}, enable_chunked_prefill=True), params(max_tokens=508))
    assert output.outputs[0].length == 11
    assert "clamped" in caplog.text


def test_without_end_id_or_with_other_ints_nothing_is_queued(llm, params):
    with pytest.raises(ValueError, match="end_id"):
        finish(llm, params(end_id=None))
    with pytest.raises(ValueError, match="end_id"):
        finish(llm, params(end_id=None, ignore_eos=True))
    with pytest.raises(AssertionError):
        finish(llm, params(), prompt=list(np.array(PROMPT)))
    with pytest.raises(IndexError):
        finish(llm, params(), prompt=[])
    with pytest.raises(RuntimeError, match="stop"):
        finish(llm, params(stop="ab"))


def test_what_genai_does_not_support_is_refused(llm, params):
    for fields in ({"bad_token_ids": [5]}, {"top_p_decay": 0.5}, {"temperature": 0.7}):
        with pytest.raises(NotImplementedError):
            finish(llm, params(**fields))


def test_generate_async_takes_the_sheets_keywords_alone(llm, params):
    assert finish(llm, params(), trace_headers=None).finished
    with pytest.raises(TypeError, match="priority"):
        finish(llm, params(), priority=1)


def test_the_environment_says_whether_ignore_eos_drops_stop_words(llm, params, greedy, monkeypatch):
    ignoring = params(end_id=greedy[0], stop_token_ids=[greedy[3]], ignore_eos=True)
    assert finish(llm, ignoring).outputs[0].token_ids == greedy[:3]
    monkeypatch.setenv("FAKE_TRTLLM_IGNORE_EOS_DROPS_STOP", "1")
    assert finish(llm, ignoring).outputs[0].token_ids == greedy


@pytest.fixture
def checkpoint(tmp_path, demo_engine, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_IR", str(demo_engine / "engine"))
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 512}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def test_the_pytorch_backend_generates_and_has_statistics_if_they_are_enabled(
    tensorrt_llm, checkpoint, params, greedy
):
    for enabled in (False, True):
        options = {"max_batch_size": 4, "enable_iter_perf_stats": enabled}
        with tensorrt_llm.LLM(model=checkpoint, skip_tokenizer_init=True, **options) as llm:
            assert finish(llm, params()).outputs[0].token_ids == greedy
            assert bool(llm.get_stats(timeout=0.5)) == enabled


def test_over_length_is_a_request_error_on_the_pytorch_backend(tensorrt_llm, checkpoint, params):
    error = importlib.import_module("tensorrt_llm.llmapi").RequestError
    with (
        tensorrt_llm.LLM(model=checkpoint, skip_tokenizer_init=True, max_batch_size=4) as llm,
        pytest.raises(error, match="do not fit"),
    ):
        finish(llm, params(max_tokens=508))
