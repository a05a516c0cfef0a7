# SPDX-License-Identifier: Apache-2.0
"""What only the openvino engine does; test_every_engine.py has the rest."""

import os
import threading
import time

import numpy as np
import openvino as ov
import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.openvino import pipeline as openvino_pipeline
from llm_ensemble.engines.openvino.pipeline import load_pipeline
from llm_ensemble.engines.openvino.sampling import generation_config
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from tests.engine.submitted import Submitted, changed, loaded, longest_run
from tests.waiting import SECONDS

# Several, where what is tested shows in most texts of the model and not in every one.
PROMPTS = [[0, token] for token in range(300, 540, 20)]


def test_only_the_end_tokens_of_the_request_end_a_text(engine, manifest):
    """The pipeline alone would add the end token of the checkpoint's generation_config.json."""
    (end,) = manifest.defaults.end_ids
    texts = [Submitted(engine, i, prompt, max_tokens=100).ids() for i, prompt in enumerate(PROMPTS)]
    assert any(end in ids for ids in texts)
    assert {len(ids) for ids in texts} == {100}


def test_the_pipeline_still_gets_the_frequency_penalty_wrong(demo_engine, manifest):
    """If this fails, a new release has corrected it, and check_sampling can accept the field."""
    pipeline = load_pipeline(demo_engine / "engine", manifest)

    def longest(penalty):
        config = generation_config(Sampling(max_tokens=60))
        config.frequency_penalty = penalty
        tensors = [ov.Tensor(np.array([prompt], dtype=np.int64)) for prompt in PROMPTS]
        handles = [pipeline.add_request(i, tensor, config) for i, tensor in enumerate(tensors)]
        while pipeline.has_non_finished_requests():
            pipeline.step()
        return max(longest_run(handle.read_all()[0].generated_ids) for handle in handles)

    # Measured: 11 without the penalty, 31 with it.
    assert longest(2.0) > longest(0.0)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"bad_words": [[5], [6, 7]]}, "bad_words: the openvino engine keeps out words of one token alone"),
        ({"bad_words": [[5]], "beam_width": 2}, "bad_words: the openvino engine has none in a beam search"),
        (
            {"bad_words": [[5]], "end_ids": [2], "min_tokens": 3},
            "bad_words: the openvino engine has none with",
        ),
        ({"logit_bias": {5: -100.0, 6: -99.0}}, "logit_bias: the openvino engine has -100 alone, which"),
        ({"logit_bias": {5: 100.0}}, "logit_bias: the openvino engine has -100 alone, which forbids a token"),
        (
            {"logit_bias": {5: -100.0}, "bias_field": "embedding_bias_words", "beam_width": 2},
            "embedding_bias_words: the openvino engine has none in a beam search",
        ),
        (
            {"bad_words": [[5]], "end_ids": [2], "greedy": False, "num_return_sequences": 2},
            "bad_words: the openvino engine has none with num_return_sequences",
        ),
        ({"beam_width": 2, "greedy": False}, "beam_width: the openvino engine does not sample in a beam"),
        ({"beam_width": 2, "repetition_penalty": 1.1}, "repetition_penalty: the openvino engine has none in"),
        ({"presence_penalty": 0.1}, "presence_penalty: the openvino engine gets it wrong"),
        ({"frequency_penalty": -0.1}, "frequency_penalty: the openvino engine gets it wrong"),
    ],
)
def test_unsupported_fields_are_refused_by_name(engine, sampling, message):
    with pytest.raises(RequestError) as caught:
        Submitted(engine, 1, **sampling)
    assert str(caught.value).startswith(message)
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_forbidding_a_token_that_would_not_come_changes_nothing(engine, manifest):
    """Not even the end token of the checkpoint, which the pipeline might add to those that are forbidden."""
    (end,) = manifest.defaults.end_ids

    def texts(**sampling):
        submitted = [
            Submitted(engine, i, prompt, max_tokens=100, log_probs=True, **sampling)
            for i, prompt in enumerate(PROMPTS)
        ]
        received = [one.rest() for one in submitted]
        ids = [[token for tokens in one for token in tokens.token_ids] for one in received]
        return ids, [[value for tokens in one for value in tokens.log_probs] for one in received]

    ids, log_probs = texts()
    unused = min({*range(300, 4096)} - {token for one in ids for token in one})
    assert any(end in one for one in ids)
    assert texts(bad_words=[[unused]]) == (ids, log_probs)
    assert texts(logit_bias={unused: -100.0}) == (ids, log_probs)


def test_a_text_whose_request_forbids_a_token_ends_with_its_end_token(engine):
    """The pipeline does not know it as one, and must not go on with the request."""
    plain = [Submitted(engine, i, prompt, max_tokens=60) for i, prompt in enumerate(PROMPTS)]
    texts = [one.ids() for one in plain]
    unused = min({*range(300, 4096)} - {token for ids in texts for token in ids})
    ends = [ids[20 + i] for i, ids in enumerate(texts)]
    together = [
        Submitted(engine, i, prompt, max_tokens=60, end_ids=[end], bad_words=[[unused]] if i % 3 else [])
        for i, (prompt, end) in enumerate(zip(PROMPTS, ends))
    ]
    for one, ids, end in zip(together, texts, ends):
        received = one.rest()
        assert [token for tokens in received for token in tokens.token_ids] == ids[: ids.index(end)]
        assert received[-1].finish == "stop"
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)
    assert not engine._lanes.base._ended
    Submitted(engine, 99, max_tokens=2).ids()
    assert not engine._lanes.base._pipeline.has_non_finished_requests()


def test_a_text_that_the_engine_ends_keeps_its_slot_until_the_pipeline_has_let_it_go(
    start, manifest, monkeypatch
):
    """Else another request would need its part of the KV cache before it is free."""
    engine = start(changed(manifest, limits=changed(manifest.limits, max_batch_size=4)))
    greedy = [Submitted(engine, i, prompt, max_tokens=6).ids() for i, prompt in enumerate(PROMPTS)]
    counts = []
    step, metrics = engine._lanes.base._pipeline.step, engine._lanes.base._pipeline.get_metrics
    replace_step(engine, monkeypatch, lambda: (step(), counts.append(metrics().requests)))
    ending = [
        Submitted(engine, i, prompt, end_ids=[ids[5]], bad_words=[[4095]])
        for i, (prompt, ids) in enumerate(zip(PROMPTS, greedy))
    ]
    assert [one.rest()[-1].finish for one in ending] == ["stop"] * len(PROMPTS)
    assert max(counts) == 4


def test_several_texts_of_a_request_that_forbids_a_token(engine):
    sampling = {"greedy": False, "temperature": 1.5, "seed": 3, "num_return_sequences": 4}
    common = Submitted(engine, 1, **sampling).sequences()[0][0]
    texts = Submitted(engine, 2, logit_bias={common: -100.0}, **sampling).sequences()
    assert [len(ids) for ids in texts] == [20] * 4
    assert all(common not in ids for ids in texts)


def replace_step(engine, monkeypatch, step):
    """Replace the step method of the engine's pipeline."""
    pipeline = engine._lanes.base._pipeline

    class Replaced:
        def __getattr__(self, name):
            return step if name == "step" else getattr(pipeline, name)

    monkeypatch.setattr(engine._lanes.base, "_pipeline", Replaced())


def test_32_requests_share_their_steps(engine, monkeypatch):
    steps, all_are_there = [], threading.Event()
    step = engine._lanes.base._pipeline.step
    replace_step(engine, monkeypatch, lambda: (all_are_there.wait(SECONDS), steps.append(1), step()))
    submitted = [Submitted(engine, i, max_tokens=64) for i in range(32)]
    all_are_there.set()
    for one in submitted:
        assert len(one.ids()) == 64
    assert len(steps) < 2 * 64, "32 requests took as many steps as one after the other"


def test_a_failing_step_ends_every_open_request_with_an_error(start, monkeypatch, caplog):
    engine = start()
    open_ = [Submitted(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()

    def fail():
        raise RuntimeError("no memory")

    replace_step(engine, monkeypatch, fail)
    assert all(isinstance(one.rest()[-1].error, EngineError) for one in open_)
    with pytest.raises(EngineError):
        Submitted(engine, 9)
    assert "no memory" in caplog.text


def test_an_engine_of_another_kind_is_refused(demo_engine, manifest):
    manifest = changed(manifest, engine="onnx")
    with pytest.raises(EngineDirectoryError, match="is for engine 'onnx'; this version serves openvino and"):
        loaded(demo_engine, manifest)


def total(submitted):
    """Return the log probability of each sequence."""
    sums = {}
    for tokens in submitted.rest():
        sums[tokens.index] = sums.get(tokens.index, 0.0) + sum(tokens.log_probs)
    return [sums[index] for index in sorted(sums)]


def test_a_beam_search_finds_texts_likelier_than_the_greedy_one_the_best_first(engine):
    (greedy,) = total(Submitted(engine, 1, max_tokens=12, log_probs=True))
    beams = total(Submitted(engine, 2, max_tokens=12, log_probs=True, beam_width=6, num_return_sequences=3))
    assert len(beams) == 3
    assert beams == sorted(beams, reverse=True)
    assert beams[0] > greedy


def wait_for_prefill(engine):
    while engine._lanes.base._prefill_only:
        time.sleep(0.001)


@pytest.mark.parametrize(
    "aborted", [{}, {"num_return_sequences": 3, "greedy": False, "seed": 1}, {"beam_width": 3}]
)
def test_a_request_aborted_in_prefill_leaves_no_garbage_in_the_prefix_cache(
    start, manifest, monkeypatch, aborted
):
    """If it were cancelled at once, its last block would count as full, and the next text use garbage."""
    small_steps = changed(manifest, limits=changed(manifest.limits, max_num_tokens=16))
    prompt = [0, *range(300, 700)]

    def log_probs(engine):
        return [
            value
            for tokens in Submitted(engine, 9, prompt, log_probs=True).rest()
            for value in tokens.log_probs
        ]

    engine, untouched = start(small_steps), start(small_steps)
    step = engine._lanes.base._pipeline.step
    replace_step(engine, monkeypatch, lambda: (step(), time.sleep(0.005)))
    Submitted(engine, 1, [0, *range(800, 820)], max_tokens=400)
    for number in (2, 3):
        left = Submitted(engine, number, prompt, max_tokens=100, **aborted)
        time.sleep(0.06)
        engine.abort(number)
        assert left.rest()[-1].finish == "cancelled"
        assert engine.stats().running == 1  # its slot is free though its prefill goes on
    engine.abort(1)
    wait_for_prefill(engine)
    assert log_probs(engine) == pytest.approx(log_probs(untouched), abs=0.001)


def test_a_request_aborted_in_prefill_keeps_its_slot_while_too_many_complete_theirs(
    start, manifest, monkeypatch
):
    engine = start(changed(manifest, limits=changed(manifest.limits, max_num_tokens=64)))
    monkeypatch.setattr(engine._lanes.base, "max_prefill_only", 1)
    step, are_aborted = engine._lanes.base._pipeline.step, threading.Event()
    replace_step(
        engine, monkeypatch, lambda: (are_aborted.wait(0.2), step())
    )  # some 20 steps for the prompts
    aborted = [Submitted(engine, number, [0, *range(300, 700)], max_tokens=100) for number in range(3)]
    while engine.stats().running < 3:
        time.sleep(0.001)
    for number in range(3):
        engine.abort(number)
    are_aborted.set()
    aborted[0].rest()
    assert engine.stats().running == 2
    assert [one.rest()[-1].finish for one in aborted[1:]] == ["cancelled", "cancelled"]
    assert engine.stats().running == 0
    wait_for_prefill(engine)


def test_a_prompt_that_begins_like_an_earlier_one_is_not_computed_again(start, manifest, monkeypatch):
    engine = start(changed(manifest, limits=changed(manifest.limits, max_num_tokens=32)))
    steps = []
    step = engine._lanes.base._pipeline.step
    replace_step(engine, monkeypatch, lambda: (steps.append(1), step()))
    took = []
    for number, last in enumerate((700, 701)):
        before = len(steps)
        Submitted(engine, number, [0, *range(300, 680), last], max_tokens=1).ids()
        took.append(len(steps) - before)
    assert took[0] >= 12
    assert took[1] <= 2


def test_the_prefix_cache_is_off_if_the_kv_cache_may_run_full(demo_engine, manifest, monkeypatch):
    """A request that is preempted and cancelled in its second prefill would leave garbage, too."""
    monkeypatch.setattr("llm_ensemble.engines.openvino.kv_cache._affordable_blocks", lambda *_: 50)
    made = []
    real = openvino_pipeline.genai.ContinuousBatchingPipeline

    def pipeline(folder, tokenizer, scheduler, *rest, **properties):
        made.append((scheduler.num_kv_blocks, scheduler.enable_prefix_caching))
        return real(folder, tokenizer, scheduler, *rest, **properties)

    monkeypatch.setattr(openvino_pipeline.genai, "ContinuousBatchingPipeline", pipeline)
    load_pipeline(demo_engine / "engine", manifest)
    assert made == [(50, False)]


def test_onednn_s_cache_is_small_unless_its_variable_is_set(demo_engine, manifest, monkeypatch):
    """oneDNN reads the variable when it first generates code, so it is set before anything is loaded."""
    name = openvino_pipeline.ONEDNN_CACHE
    seen = []
    real = openvino_pipeline.genai.ContinuousBatchingPipeline

    def pipeline(*arguments, **properties):
        seen.append(os.environ[name])
        return real(*arguments, **properties)

    monkeypatch.setattr(openvino_pipeline.genai, "ContinuousBatchingPipeline", pipeline)
    for set_by_the_operator in (None, "100"):
        monkeypatch.delenv(name, raising=False)
        if set_by_the_operator:
            monkeypatch.setenv(name, set_by_the_operator)
        load_pipeline(demo_engine / "engine", manifest)
    assert seen == ["64", "100"]


def test_an_int8_engine_gives_every_request_its_tokens(int8_engine):
    """Its rounding depends on the batch, so no texts are compared."""
    engine = loaded(int8_engine)
    submitted = [
        Submitted(engine, i, prompt, max_tokens=64, log_probs=True) for i, prompt in enumerate(PROMPTS)
    ]
    beams = Submitted(engine, 99, max_tokens=12, beam_width=4, num_return_sequences=4, log_probs=True).rest()
    for one in submitted:
        received = one.rest()
        log_probs = [value for tokens in received for value in tokens.log_probs]
        assert (len(log_probs), received[-1].finish) == (64, "length")
        assert np.isfinite(log_probs).all()
        assert max(log_probs) <= 0.001
    assert [len(beam.token_ids) for beam in beams] == [12] * 4
    engine.close()
