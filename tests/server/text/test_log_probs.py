# SPDX-License-Identifier: Apache-2.0
"""Log probabilities are the model's own: those transformers computes in float32 on the same checkpoint.

The engine has fp16 weights and computes in f32.
"""

import json

import numpy as np
import pytest

from tests.asking import GrpcStream, generate, generate_stream, refusal, text_with_an_end
from tests.build_environment import run_in_build_environment

PROMPT = "The package manager"
ASKED = {"text_input": PROMPT, "max_tokens": 40, "ignore_eos": True, "return_log_probs": True}
WAYS = {
    "greedy": {},
    "sampled hot": {"temperature": 2.0, "seed": 1},
    "filtered": {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "seed": 2},
    "penalized": {"repetition_penalty": 1.5},
    "held to a length": {"min_tokens": 40, "ignore_eos": False},
    "beams": {"beam_width": 3},
    "several": {"temperature": 1.0, "num_return_sequences": 3, "seed": 3},
}
TOLERANCE = 1e-2
UNASKED = {"cum_log_probs", "output_log_probs", "output_token_ids", "top_token_ids", "top_token_log_probs"}


@pytest.fixture(scope="module")
def answers(exact):
    """Each way's answer."""
    return {way: ask(exact.server, way) for way in WAYS}


def ask(server, way):
    with GrpcStream(server) as stream:
        (answer,) = stream.ask(**{**ASKED, **WAYS[way]}, request_id=way)
    return answer


@pytest.fixture(scope="module")
def expected(exact, answers):
    """Transformers' log probabilities of the ids the engine gave, a list a sequence."""
    prompt = exact.tokenizer.encode(PROMPT).ids
    texts = {
        f"{way}/{index}": [prompt, ids] for way in answers for index, ids in enumerate(exact.sequences(way))
    }
    done = run_in_build_environment("-m", "tests.score", "models/demo", input=json.dumps(texts))
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    return {way: [scores[key] for key in texts if key.startswith(f"{way}/")] for way in answers}


@pytest.mark.parametrize("way", WAYS)
def test_they_agree_with_transformers(answers, expected, way):
    rows = answers[way]["output_log_probs"]
    rows = rows if isinstance(rows[0], list) else [rows]
    assert len(rows) == len(expected[way])
    for row, reference in zip(rows, expected[way]):
        assert len(reference) == 40
        np.testing.assert_allclose(row, reference, atol=TOLERANCE)


@pytest.mark.parametrize("way", WAYS)
def test_the_cumulative_one_is_their_sum(answers, expected, way):
    sums = [sum(reference) for reference in expected[way]]
    np.testing.assert_allclose(np.ravel(answers[way]["cum_log_probs"]), sums, atol=40 * TOLERANCE)


def test_a_stream_gives_them_with_the_tokens_they_belong_to(exact, answers):
    events = generate_stream(exact.server, **{**ASKED, "max_tokens": 200})
    assert len(events) > 2
    for event in events:
        assert np.size(event["output_log_probs"]) == event["num_output_tokens"]
    together = np.concatenate([np.ravel(event["output_log_probs"]) for event in events])
    np.testing.assert_allclose(together[:40], answers["greedy"]["output_log_probs"], atol=1e-4)
    assert events[-1]["cum_log_probs"] == pytest.approx(together.sum(), abs=1e-2)


def test_a_stop_string_s_last_token_is_the_last_that_counts(exact, answers):
    whole = answers["greedy"]["text_output"]
    stopped = generate(exact.server, **ASKED, stop_words=[whole[10:14]])
    count = stopped["num_output_tokens"]
    assert 0 < count < 40
    np.testing.assert_allclose(
        stopped["output_log_probs"], answers["greedy"]["output_log_probs"][:count], atol=1e-4
    )


def test_the_end_token_is_no_token_and_has_none(exact):
    _, answer = text_with_an_end(exact.server, return_log_probs=True)
    assert len(answer["output_log_probs"]) == answer["num_output_tokens"]
    assert len(answer["output_token_ids"]) == answer["num_output_tokens"]


@pytest.mark.parametrize("way", WAYS)
def test_the_ids_of_the_tokens_come_with_them(exact, answers, way):
    rows = answers[way]["output_token_ids"]
    rows = rows if isinstance(rows[0], list) else [rows]
    assert [[one for one in row if one != -1] for row in rows] == exact.sequences(way)


def test_a_stream_s_ids_are_those_of_the_unary_answer_also_before_a_stop_string(exact, answers):
    whole = answers["greedy"]
    for words in ([], [whole["text_output"][10:14]]):
        asked = {**ASKED, "stop_words": words} if words else ASKED
        events = generate_stream(exact.server, **asked)
        for event in events:
            assert np.size(event["output_token_ids"]) == event["num_output_tokens"]
        ids = np.concatenate([np.ravel(event["output_token_ids"]) for event in events]).astype(int).tolist()
        assert ids == whole["output_token_ids"][: len(ids)]
        assert (len(ids) < 40) == bool(words)


def test_several_most_probable_tokens_are_refused_by_this_engine(exact):
    status, message = refusal(exact.server, {**ASKED, "top_log_probs": 2})
    assert status == 400
    assert "top_log_probs: the openvino engine gives the chosen token's alone" in message
    assert generate(exact.server, **ASKED, top_log_probs=0) == generate(exact.server, **ASKED)


def test_they_are_not_sent_unless_requested(exact):
    for asked in ({}, {"return_log_probs": False}):
        assert not UNASKED & generate(exact.server, "a", **asked).keys()
