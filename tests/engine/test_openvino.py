# SPDX-License-Identifier: Apache-2.0
"""What is OpenVINO's own; the rest is in test_every_engine.py."""

import time

import numpy as np
import openvino as ov
import pytest

from llm_ensemble.engines import openvino_pipeline
from llm_ensemble.engines.base import load_engine
from llm_ensemble.engines.openvino_pipeline import generation_config, load_pipeline
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.sampling import Sampling
from llm_ensemble.settings import Settings
from tests.engine.asked import PROMPT, Asked, changed, longest_run


def test_nothing_but_the_request_says_what_ends_a_text(engine, manifest):
    """The pipeline alone would add the end token of the checkpoint's generation_config.json."""
    (end,) = manifest.defaults.end_ids
    assert end in Asked(engine, 1, max_tokens=100).ids()


def test_the_pipeline_still_gets_the_frequency_penalty_wrong(engine, demo_engine, manifest):
    """If this fails a new release has repaired it, and refuse_what_it_cannot can let it through."""
    config = generation_config(Sampling(max_tokens=60))
    plain = longest_run(Asked(engine, 1, max_tokens=60).ids())
    config.frequency_penalty = 2.0
    pipeline = load_pipeline(demo_engine / "engine", manifest)
    handle = pipeline.add_request(1, ov.Tensor(np.array([PROMPT], dtype=np.int64)), config)
    ids = []
    while pipeline.has_non_finished_requests():
        pipeline.step()
        ids += [token for output in handle.read().values() for token in output.generated_ids]
    assert longest_run(ids) > plain


@pytest.mark.parametrize(
    ("sampling", "told"),
    [
        ({"bad_words": [[5]]}, "bad_words: the openvino engine cannot keep words out"),
        ({"beam_width": 2, "greedy": False}, "beam_width: the openvino engine does not sample in a beam"),
        ({"beam_width": 2, "repetition_penalty": 1.1}, "repetition_penalty: the openvino engine has none in"),
        ({"presence_penalty": 0.1}, "presence_penalty: the openvino engine gets it wrong"),
        ({"frequency_penalty": -0.1}, "frequency_penalty: the openvino engine gets it wrong"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(engine, sampling, told):
    with pytest.raises(RequestError) as caught:
        Asked(engine, 1, **sampling)
    assert str(caught.value).startswith(told)
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def replace_step(engine, monkeypatch, step):
    """Let the engine's pipeline do something else when it is told to step; all else stays the real one."""
    pipeline = engine._pipeline

    class Replaced:
        def __getattr__(self, name):
            return step if name == "step" else getattr(pipeline, name)

    monkeypatch.setattr(engine, "_pipeline", Replaced())


def test_32_requests_share_their_steps(engine, monkeypatch):
    steps = []
    step = engine._pipeline.step
    replace_step(engine, monkeypatch, lambda: (steps.append(1), step()))
    for one in [Asked(engine, i, max_tokens=64) for i in range(32)]:
        assert len(one.ids()) == 64
    assert len(steps) < 2 * 64, "32 requests took as many steps as one after the other"


def test_a_failing_step_ends_every_open_request_with_an_error(start, monkeypatch, caplog):
    engine = start()
    open_ = [Asked(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()

    def fail():
        raise RuntimeError("no memory")

    replace_step(engine, monkeypatch, fail)
    assert all(isinstance(one.rest()[-1].error, EngineError) for one in open_)
    with pytest.raises(EngineError):
        Asked(engine, 9)
    assert "no memory" in caplog.text


def test_an_engine_of_another_kind_is_refused(demo_engine, manifest):
    manifest = changed(manifest, engine="onnx")
    with pytest.raises(EngineDirectoryError, match="'onnx' engine, which this version cannot serve"):
        load_engine(manifest, Settings(engine_dir=demo_engine))


def total(asked):
    """The log probability of each sequence."""
    sums = {}
    for tokens in asked.rest():
        sums[tokens.index] = sums.get(tokens.index, 0.0) + sum(tokens.log_probs)
    return [sums[index] for index in sorted(sums)]


def test_a_beam_search_finds_what_is_likelier_than_the_greedy_text_best_first(engine):
    (greedy,) = total(Asked(engine, 1, max_tokens=12, log_probs=True))
    beams = total(Asked(engine, 2, max_tokens=12, log_probs=True, beam_width=6, num_return_sequences=3))
    assert len(beams) == 3
    assert beams == sorted(beams, reverse=True)
    assert beams[0] > greedy


def wait_until_read(engine):
    while engine._reading_on:
        time.sleep(0.001)


@pytest.mark.parametrize(
    "leaver", [{}, {"num_return_sequences": 3, "greedy": False, "seed": 1}, {"beam_width": 3}]
)
def test_a_prompt_that_somebody_left_half_read_is_no_garbage_for_the_next(
    start, manifest, monkeypatch, leaver
):
    """Cancelled at once, its last block would count as full; the next text would go on from garbage."""
    small_steps = changed(manifest, limits=changed(manifest.limits, max_num_tokens=16))
    prompt = [0, *range(300, 700)]

    def log_probs(engine):
        return [
            value for tokens in Asked(engine, 9, prompt, log_probs=True).rest() for value in tokens.log_probs
        ]

    engine, untouched = start(small_steps), start(small_steps)
    step = engine._pipeline.step
    replace_step(engine, monkeypatch, lambda: (step(), time.sleep(0.005)))
    Asked(engine, 1, [0, *range(800, 820)], max_tokens=400)
    for number in (2, 3):
        left = Asked(engine, number, prompt, max_tokens=100, **leaver)
        time.sleep(0.06)
        engine.abort(number)
        assert left.rest()[-1].finish == "cancelled"
        assert engine.stats().running == 1  # its place is free though its prompt is still read
    engine.abort(1)
    wait_until_read(engine)  # company changes an INT8 engine's numbers a little
    assert log_probs(engine) == pytest.approx(log_probs(untouched), abs=0.02)


def test_who_leaves_when_many_are_read_on_keeps_his_place_until_it_is_his_turn(start, manifest, monkeypatch):
    engine = start(changed(manifest, limits=changed(manifest.limits, max_num_tokens=64)))
    monkeypatch.setattr(engine, "_most_reading_on", 1)
    step = engine._pipeline.step
    replace_step(engine, monkeypatch, lambda: (time.sleep(0.01), step()))
    leavers = [Asked(engine, number, [0, *range(300, 700)], max_tokens=100) for number in range(3)]
    while engine.stats().running < 3:
        time.sleep(0.001)
    for number in range(3):
        engine.abort(number)
    leavers[0].rest()
    assert engine.stats().running == 2
    assert [one.rest()[-1].finish for one in leavers[1:]] == ["cancelled", "cancelled"]
    assert engine.stats().running == 0
    wait_until_read(engine)


def test_a_prompt_that_begins_like_an_earlier_one_is_not_read_again(start, manifest, monkeypatch):
    engine = start(changed(manifest, limits=changed(manifest.limits, max_num_tokens=32)))
    steps = []
    step = engine._pipeline.step
    replace_step(engine, monkeypatch, lambda: (steps.append(1), step()))
    took = []
    for number, last in enumerate((700, 701)):
        before = len(steps)
        Asked(engine, number, [0, *range(300, 680), last], max_tokens=1).ids()
        took.append(len(steps) - before)
    assert took[0] >= 12
    assert took[1] <= 2


def test_a_cache_that_may_run_full_is_shared_by_nobody(demo_engine, manifest, monkeypatch):
    """Whoever is thrown out and cancelled while he is read again would leave garbage, too."""
    monkeypatch.setattr("llm_ensemble.engines.openvino_pipeline._affordable_blocks", lambda *_: 50)
    made = []
    real = openvino_pipeline.genai.ContinuousBatchingPipeline

    def pipeline(folder, tokenizer, scheduler, *rest, **properties):
        made.append((scheduler.num_kv_blocks, scheduler.enable_prefix_caching))
        return real(folder, tokenizer, scheduler, *rest, **properties)

    monkeypatch.setattr(openvino_pipeline.genai, "ContinuousBatchingPipeline", pipeline)
    load_pipeline(demo_engine / "engine", manifest)
    assert made == [(50, False)]
