# SPDX-License-Identifier: Apache-2.0
"""Of each feature that an engine may lack: a request that uses it, and how its effect is seen.

A new feature needs a line in USES and one in EFFECTS or, where a test of its own sees the effect, ELSEWHERE.
NOT_YET has what every engine lacks: the branch that takes its line out of an engine's LACKS moves it.
"""

import json
import re

from pydantic_core import from_json
from tokenizers import Tokenizer

from llm_ensemble.contract.guide import Guide
from tests.engine.submitted import Submitted, longest_run

SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
CHOICES = ["red", "green", "blue"]
PROMPTS = [[0, token] for token in range(300, 540, 20)]

# The sampling of a request that uses a feature.
USES = {
    "beam_width": {"beam_width": 3, "num_return_sequences": 2},
    "num_return_sequences": {"num_return_sequences": 2, "greedy": False, "temperature": 1.5},
    "min_tokens": {"min_tokens": 10, "max_tokens": 20},
    "min_p": {"min_p": 0.999, "greedy": False, "seed": 1},
    "seed": {"seed": 7, "seed_field": "seed", "greedy": False, "temperature": 1.5},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "presence_penalty": {"presence_penalty": 2.0},
    "frequency_penalty": {"frequency_penalty": 2.0},
    "bad_words": {"bad_words": [[5]]},
    "logit_bias": {"logit_bias": {777: 100.0}},
    "return_log_probs": {"log_probs": True},
    "top_log_probs": {"log_probs": True, "top_log_probs": 3},
    "guide json": {"guide": Guide("json")},
    "guide json_schema": {"guide": Guide("json_schema", SCHEMA)},
    "guide regex": {"guide": Guide("regex", "[ab]{3}-[0-9]{2}")},
    "guide ebnf_grammar": {"guide": Guide("ebnf_grammar", 'root ::= ("x" | "yz") " " [0-9]')},
    "guide choice": {"guide": Guide("choice", json.dumps(CHOICES))},
    "lora_name": {"lora": "some-adapter"},
}


class Seen:
    """An engine whose requests are looked at."""

    def __init__(self, engine, engine_dir, manifest) -> None:
        self.engine, self._folder, self._end_ids = engine, engine_dir, manifest.defaults.end_ids

    def ask(self, input_ids=None, **sampling):
        return Submitted(self.engine, 1, input_ids, **sampling)

    def ids(self, **sampling):
        return self.ask(**sampling).ids()

    def guided_texts(self, feature):
        """Return the texts of a guide, greedy and sampled, and whether each is finished."""
        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer/tokenizer.json"))
        sampled = [{"greedy": False, "temperature": 1.0, "seed": seed} for seed in range(5)]
        for sampling in ({}, *sampled):
            received = self.ask(max_tokens=200, end_ids=self._end_ids, **USES[feature], **sampling).rest()
            text = tokenizer.decode([token for part in received for token in part.token_ids])
            yield text, received[-1].finish == "stop"


def beams_differ_and_are_whole(seen):
    beams = seen.ask(max_tokens=12, **USES["beam_width"]).sequences()
    assert [len(ids) for ids in beams] == [12, 12]
    assert beams[0] != beams[1]


def leaves_the_most_probable_alone(seen):
    sampling = {"greedy": False, "temperature": 1.0, "seed": 1}
    greedy = seen.ids()
    assert seen.ids(**sampling) != greedy
    assert seen.ids(**sampling, min_p=0.999) == greedy


def repeats_a_text(seen):
    first, again, other = (seen.ids(**{**USES["seed"], "seed": seed}) for seed in (7, 7, 8))
    assert first == again != other


def lessens_repetition(name, most, least):
    """A penalty, its opposite and its neutral value change how often the most frequent token occurs."""

    def see(seen):
        neutral = 1.0 if name == "repetition_penalty" else 0.0
        counts = [longest_run(seen.ids(max_tokens=60, **{name: value})) for value in (most, neutral, least)]
        assert counts[0] < counts[1] < counts[2]

    return see


def penalizes_by(name, times):
    """A token is chosen again just as long as its logit, less the penalty, is the highest.

    A prompt does not count. How far a token leads the next, which is not penalized, the log probabilities of
    the text as a prompt tell.
    """

    def turning(seen, prompt, ids, place):
        """Return the penalty above which another token comes in a place."""
        received = seen.ask(input_ids=[*prompt, *ids[:place]], max_tokens=1, log_probs=True, top_log_probs=20)
        (plain,) = received.rest()
        others = zip(plain.top_ids[1:], plain.top_log_probs[1:])
        gap = plain.top_log_probs[0] - max(value for token, value in others if token not in ids[:place])
        return gap / (ids[:place].count(ids[place]) if times else 1)

    def see(seen):
        found = None
        for prompt in PROMPTS:
            ids = seen.ids(input_ids=prompt, max_tokens=40)
            place = next((i for i in range(1, 40) if ids[i] in ids[:i]), None)  # the first that is penalized
            if place and 0.3 < (found := turning(seen, prompt, ids, place)) < 1.9:
                break
        assert found, "no text repeats a token"
        asked = {"input_ids": prompt, "max_tokens": place + 1}
        kept, turned = (seen.ids(**asked, **{name: found + more}) for more in (-0.05, 0.05))
        assert kept == ids[: place + 1]
        assert turned[:place] == ids[:place]
        assert turned[place] != ids[place]

    return see


def keeps_words_out(seen):
    first, second, *_ = seen.ids(max_tokens=4)
    assert first not in seen.ids(max_tokens=30, bad_words=[[first]])
    ids = seen.ids(max_tokens=4, bad_words=[[first, second]])
    assert ids[0] == first
    assert ids[1] != second


def keeps_words_of_one_token_out(seen):
    tokens = {*seen.ids(max_tokens=30)}
    assert not tokens & {*seen.ids(max_tokens=30, bad_words=[[token] for token in tokens])}


def forces_and_forbids_a_token(seen):
    assert {*seen.ids(logit_bias={777: 100.0})} == {777}
    forbids_tokens(seen)


def forbids_tokens(seen):
    tokens = {*seen.ids(max_tokens=30)}
    assert not tokens & {*seen.ids(max_tokens=30, logit_bias=dict.fromkeys(tokens, -100.0))}


def gives_one_a_token(seen):
    received = seen.ask(max_tokens=8, log_probs=True).rest()
    values = [value for tokens in received for value in tokens.log_probs]
    assert len(values) == 8
    assert all(-20 < value <= 0.001 for value in values)
    assert seen.ask(max_tokens=1).rest()[0].log_probs == []


def gives_the_best_of_each_place(seen):
    for tokens in seen.ask(max_tokens=4, **USES["top_log_probs"]).rest():
        assert len(tokens.top_ids) == len(tokens.top_log_probs) == 3 * len(tokens.token_ids)
        assert tokens.top_ids[::3] == tokens.token_ids  # greedy: the best is the chosen one


def _fits_schema(text):
    return isinstance(json.loads(text)["n"], int)


def guides(feature, matches):
    def see(seen):
        finished = [text for text, is_finished in seen.guided_texts(feature) if is_finished]
        assert finished, "every text was ended by its max_tokens"
        for text in finished:
            assert matches(text), text

    return see


def begins_json_objects(seen):
    """An object of any kind has no end that a model must come to."""
    for text, is_finished in seen.guided_texts("guide json"):
        assert isinstance(from_json(text, allow_partial=not is_finished), dict), text


EFFECTS = {
    "beam_width": beams_differ_and_are_whole,
    "min_p": leaves_the_most_probable_alone,
    "seed": repeats_a_text,
    "repetition_penalty": lessens_repetition("repetition_penalty", 1.5, 0.5),
    "presence_penalty": penalizes_by("presence_penalty", times=False),
    "frequency_penalty": penalizes_by("frequency_penalty", times=True),
    "bad_words": keeps_words_out,
    "logit_bias": forces_and_forbids_a_token,
    "return_log_probs": gives_one_a_token,
    "top_log_probs": gives_the_best_of_each_place,
    "guide json": begins_json_objects,
    "guide json_schema": guides("guide json_schema", _fits_schema),
    "guide regex": guides("guide regex", lambda text: re.fullmatch("[ab]{3}-[0-9]{2}", text)),
    "guide ebnf_grammar": guides("guide ebnf_grammar", lambda text: re.fullmatch("(x|yz) [0-9]", text)),
    "guide choice": guides("guide choice", lambda text: text in CHOICES),
}
# Where an engine has a feature on a condition, under which another effect is seen; by kind and feature.
OTHER_EFFECTS = {
    ("openvino", "bad_words"): keeps_words_of_one_token_out,
    ("openvino", "logit_bias"): forbids_tokens,
}
# By feature: the test that sees the effect, as "path::function". It must be run for every engine that has it.
ELSEWHERE: dict[str, str] = {
    "lora_name": "tests/engine/test_lora.py::adapted",
    "draft engine": "tests/engine/test_speculation.py::test_greedy_tokens_are_those_without",
    "prompt lookup": "tests/engine/test_speculation.py::test_greedy_tokens_are_those_without",
    "num_return_sequences": "tests/engine/test_every_engine.py"
    "::test_several_sequences_of_one_request_differ_and_the_seed_repeats_them",
    "min_tokens": "tests/engine/test_every_engine.py::test_no_end_token_comes_before_min_tokens",
}
NOT_YET: set[str] = set()
# What the fake TensorRT-LLM cannot compute, and the field of its SamplingParams by which it gets it. OpenVINO
# GenAI, which it computes with, gets the additive penalties wrong.
PASSED_ON = {
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "bad_words": "_bad_word_ids",
    "logit_bias": "embedding_bias",
    "top_log_probs": "logprobs",
    **dict.fromkeys((use for use in USES if use.startswith("guide ")), "guided_decoding"),
}


def is_passed_on(name):
    """Check that TensorRT-LLM's parameters have the field of a feature."""
    from llm_ensemble.contract.sampling import Sampling
    from llm_ensemble.engines.tensorrt_llm.api import sampling_params

    plain, used = (sampling_params(Sampling(max_tokens=4, **use), 4096) for use in ({}, USES[name]))
    assert getattr(plain, PASSED_ON[name]) is None
    assert getattr(used, PASSED_ON[name]) is not None
