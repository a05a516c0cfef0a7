# SPDX-License-Identifier: Apache-2.0
"""Guided texts of the openvino engine, sampled so hot that only the guide can make them valid."""

import json
import re
import threading

import jsonschema_rs
import numpy as np
import openvino as ov
import pytest
from tokenizers import Tokenizer

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.openvino.guides.compiler import GuideCompiler
from llm_ensemble.engines.openvino.pipeline import load_pipeline
from llm_ensemble.engines.openvino.sampling import generation_config
from llm_ensemble.errors import RequestError
from tests.engine.on_openvino.test_openvino import replace_step
from tests.engine.submitted import Submitted

HOT = {"greedy": False, "temperature": 1.5}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
}
WORDS = " | ".join(f'"{"x" * length}"' for length in range(1, 400))
# None of these is within the limits. The first the contract refuses; "words" takes minutes to compile; the
# others are compiled soon, or not, and then take long for each token.
BOMBS = {
    "regex": ("regex", "((a?){1000}(b?){1000}){1000}"),
    "grammar": ("ebnf_grammar", "root ::= " + " ".join(["[a-z]?"] * 5000)),
    "words": ("ebnf_grammar", f"root ::= w{{1,50}}\nw ::= {WORDS}"),
    "ambiguous": ("ebnf_grammar", "root ::= e\ne ::= e e e | e e | [a-z ]"),
}


@pytest.fixture(scope="module")
def tokenizer(engine_dir):
    return Tokenizer.from_file(str(engine_dir / "tokenizer/tokenizer.json"))


@pytest.fixture(scope="module")
def guided(engine, manifest):
    """Submit a guided request."""
    numbers = iter(range(10_000, 20_000))

    def guided(kind, text="", engine=engine, **sampling):
        text = text if isinstance(text, str) else json.dumps(text)
        number = next(numbers)
        defaults = {"end_ids": manifest.defaults.end_ids, "max_tokens": 200, "seed": number, **HOT}
        return Submitted(engine, number, guide=Guide(kind, text), **{**defaults, **sampling})

    return guided


def text_of(submitted, tokenizer):
    """Return the text and the finish reason of one sequence."""
    received = submitted.rest()
    assert received[-1].error is None, received[-1].error
    ids = [token for tokens in received for token in tokens.token_ids]
    return tokenizer.decode(ids, skip_special_tokens=False), received[-1].finish


def test_32_at_once_with_different_guides(guided, tokenizer):
    choices = [[f"choice {i}", f"another {i}"] for i in range(8)]
    submitted = [
        *(guided("json_schema", PERSON) for _ in range(8)),
        *(guided("choice", one) for one in choices),
        *(guided("regex", rf"[a-f]{{{i}}}-\d+!") for i in range(1, 9)),
        *(guided("ebnf_grammar", 'root ::= "(" root ")" | [0-9]') for _ in range(8)),
    ]
    texts = [text_of(one, tokenizer) for one in submitted]
    assert sum(finish == "stop" for _, finish in texts) >= 28
    for i, (text, finish) in enumerate(texts):
        if finish != "stop":
            continue
        if i < 8:
            jsonschema_rs.validate(PERSON, json.loads(text))
        elif i < 16:
            assert text in choices[i - 8]
        elif i < 24:
            assert re.fullmatch(rf"[a-f]{{{i - 15}}}-\d+!", text)
        else:
            assert re.fullmatch(r"(\()*\d(\))*", text)
            assert text.count("(") == text.count(")")


def test_a_text_that_is_cut_says_length(guided, tokenizer):
    text, finish = text_of(guided("regex", "[a-z]{150}", max_tokens=5), tokenizer)
    assert finish == "length"
    assert re.fullmatch("[a-z]+", text)


def test_greedy_with_log_probs_and_penalty(guided):
    received = guided(
        "json_schema", PERSON, greedy=True, log_probs=True, repetition_penalty=1.3, max_tokens=60
    ).rest()
    log_probs = [value for tokens in received for value in tokens.log_probs]
    assert len(log_probs) == sum(len(tokens.token_ids) for tokens in received)
    assert np.isfinite(log_probs).all()


def test_the_end_token_of_the_request_ends_it(guided, tokenizer):
    text, finish = text_of(guided("regex", "[a-c]{5}", end_ids=[1]), tokenizer)
    assert (len(text), finish) == (5, "stop")


def test_special_tokens_stand_in_no_guided_text(guided, tokenizer):
    """Their own characters may: they are then made of other tokens."""
    ids = guided("regex", ".{30}", max_tokens=60).ids()
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    assert not special & set(ids)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_while_others_go_on(engine, guided, tokenizer, bomb, monkeypatch):
    other = Submitted(engine, 5, max_tokens=800)
    other.next()
    refused = guided(*BOMBS[bomb])
    seen = []
    ended = threading.Event()
    receiver = threading.Thread(target=lambda: (seen.append(refused.rest()[-1]), ended.set()))
    receiver.start()
    steps = 0
    while not ended.is_set():
        steps += 1
        if other.next().finish:
            other = Submitted(engine, 5, max_tokens=800)
    receiver.join()
    assert isinstance(seen[0].error, RequestError)
    assert str(seen[0].error).startswith("guided_decoding_guide: ")
    assert steps > 50
    engine.abort(5)
    other.rest()
    assert text_of(guided("choice", ["fine"]), tokenizer) == ("fine", "stop")


def test_one_that_is_aborted_ends_and_others_go_on(engine, guided, tokenizer):
    guide = Guide("ebnf_grammar", "root ::= [a-z]+ [A-Z]{20}")
    left = Submitted(engine, 7, guide=guide, end_ids=[0], max_tokens=900)
    left.next()
    engine.abort(7)
    assert left.rest()[-1].finish == "cancelled"
    assert text_of(guided("choice", ["fine"]), tokenizer) == ("fine", "stop")


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"beam_width": 2, "greedy": True}, "beam_width: the openvino engine has no guide in a beam search"),
        ({"num_return_sequences": 2}, "num_return_sequences: the openvino engine guides one sequence"),
    ],
)
def test_what_goes_with_no_guide_is_refused(guided, sampling, message):
    with pytest.raises(RequestError, match=message):
        guided("json", **sampling)


def test_several_sequences_still_share_the_state_of_a_guide(engine, engine_dir, manifest, tokenizer):
    """If this fails, a new release keeps them apart, and check_sampling can accept them."""
    compiler = GuideCompiler(engine_dir / "tokenizer/tokenizer.json")
    pipeline = load_pipeline(engine_dir / "engine", manifest, tokenizer=compiler.tokenizer)
    guide = Guide("regex", "(yes|no)[0-9]{3}")
    config = generation_config(
        Sampling(max_tokens=20, end_ids=[0], guide=guide, num_return_sequences=4, seed=1, **HOT)
    )
    handle = pipeline.add_request(1, ov.Tensor(np.array([[0, 300]], dtype=np.int64)), config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    texts = [tokenizer.decode(output.generated_ids) for output in handle.read_all()]
    assert not all(re.fullmatch("(yes|no)[0-9]{3}", text) for text in texts)
    compiler.close()


def test_the_library_s_own_mistake_is_told_and_ends_no_step(engine, guided, monkeypatch):
    monkeypatch.setattr(
        "llm_ensemble.engines.openvino.guides.waiting.grammar_of", lambda guide: "root ::= nothing_like_it"
    )
    assert "nothing_like_it" in str(guided("choice", ["a"]).rest()[-1].error)
    assert not engine.failed


def test_a_guide_is_compiled_outside_of_steps(engine, guided, tokenizer, monkeypatch):
    """The pipeline takes it from what the compiler has compiled: no step compiles."""
    compiled, stepped = [], []
    compiler = engine._guides
    turn = compiler.turn
    step = engine._lanes.base._pipeline.step
    replace_step(engine, monkeypatch, lambda: (stepped.append(turn.locked()), step()))
    compile_ = compiler._trials._accept
    monkeypatch.setattr(compiler._trials, "_accept", lambda *args: (compiled.append(args), compile_(*args)))
    for _ in range(2):
        assert text_of(guided("choice", ["once"]), tokenizer) == ("once", "stop")
    assert len(compiled) == 1
    assert stepped[0], "the first step of a guided request is in the compiler's turn"
    assert not turn.locked()
