# SPDX-License-Identifier: Apache-2.0

import pytest

from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from tests.asking import GrpcStream, generate, generate_stream, joined, refusal, text_with_an_end
from tests.conftest import EVERY_ENGINE

pytestmark = EVERY_ENGINE

PROMPT = "The package manager"


def grpc_answers(server, **fields):
    with GrpcStream(server) as stream:
        return list(stream.ask(text_input=PROMPT, **fields))


def test_a_unary_request_gets_one_answer_with_reason_and_usage(server):
    answer = generate(server, PROMPT, max_tokens=12)
    assert answer["text_output"]
    assert answer["finish_reason"] in {"length", "stop"}
    assert 1 <= answer["num_output_tokens"] <= 12
    assert answer["num_input_tokens"] >= 2


def test_greedy_text_is_the_same_over_http_and_grpc_streamed_or_not(server):
    plain = generate(server, PROMPT, max_tokens=40)["text_output"]
    events = generate_stream(server, PROMPT, max_tokens=40)
    assert len(events) > 1
    assert joined(events) == plain
    assert joined(grpc_answers(server, max_tokens=40, stream=True)) == plain
    assert joined(grpc_answers(server, max_tokens=40)) == plain


@pytest.mark.parametrize("streamed", [True, False])
def test_only_the_last_response_says_why_and_the_counts_add_up(server, streamed):
    responses = grpc_answers(server, max_tokens=20, stream=streamed)
    plain = generate(server, PROMPT, max_tokens=20)
    assert [bool(r["finish_reason"]) for r in responses] == [False] * (len(responses) - 1) + [True]
    assert sum(r["num_output_tokens"] for r in responses) == plain["num_output_tokens"]
    assert responses[-1]["finish_reason"] == plain["finish_reason"]
    if not streamed:
        assert len(responses) == 1


def test_the_same_seed_gives_the_same_text_and_another_seed_another(server):
    def text(seed):
        return generate(server, PROMPT, max_tokens=30, temperature=1.0, top_p=0.95, seed=seed)["text_output"]

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(5)}) > 1


def test_sampling_without_a_seed_differs_from_call_to_call(server):
    texts = {generate(server, PROMPT, max_tokens=30, temperature=1.5)["text_output"] for _ in range(4)}
    assert len(texts) > 1


def test_temperature_0_and_top_k_1_are_greedy(server):
    greedy = generate(server, PROMPT, max_tokens=20)["text_output"]
    assert generate(server, PROMPT, max_tokens=20, temperature=0.0)["text_output"] == greedy
    assert generate(server, PROMPT, max_tokens=20, temperature=2.0, top_k=1)["text_output"] == greedy


@pytest.mark.parametrize("streamed", [True, False])
def test_a_stop_string_ends_the_text_before_it(server, streamed):
    asked = {"max_tokens": 40, "ignore_eos": True}
    whole = generate(server, PROMPT, **asked)["text_output"]
    stop = whole[20:24]
    responses = grpc_answers(server, **asked, stream=streamed, stop_words=["no such text", "", stop])
    assert joined(responses) == whole[: whole.index(stop)]
    assert responses[-1]["finish_reason"] == "stop"


def test_the_prompt_comes_first_when_asked_for(server):
    completion = generate(server, PROMPT, max_tokens=8)["text_output"]
    echoed = generate(server, PROMPT, max_tokens=8, exclude_input_in_output=False)["text_output"]
    assert echoed == PROMPT + completion


def test_max_tokens_defaults_to_the_manifest_s(server):
    assert generate(server, PROMPT)["num_output_tokens"] <= 128


def test_the_prompt_s_tokens_are_counted_as_the_tokenizer_counts_them(server, demo_engine):
    tokenizer = load_tokenizer(demo_engine)
    for prompt in ("a", PROMPT, "Naïve café — “日本語” 👩‍👩‍👧"):
        assert generate(server, prompt, max_tokens=1)["num_input_tokens"] == len(tokenizer.encode(prompt).ids)


def test_the_longest_prompt_is_taken_and_one_token_more_is_refused(server):
    assert generate(server, "a" + " a" * 509, max_tokens=1)["num_input_tokens"] == 511
    status, message = refusal(server, {"text_input": "a" + " a" * 510})
    assert status == 400
    assert message.endswith("text_input: 512 tokens, at most 511 fit; shorten the prompt")


def test_a_beam_search_may_return_its_best_alone(server, engine_kind):
    asked = {"max_tokens": 12, "beam_width": 3}
    if engine_kind == "vllm":
        status, message = refusal(server, {"text_input": PROMPT, **asked})
        told = "beam_width: got 3, at most 1 with this engine (its max_beam_width)"
        assert (status, message.endswith(told)) == (400, True)
        return
    best = generate(server, PROMPT, **asked, num_return_sequences=1)["text_output"]
    assert best == generate(server, PROMPT, **asked)["text_output"][0]


def test_ignore_eos_and_min_tokens_put_off_the_end_and_end_id_brings_it(server, demo_engine):
    prompt, whole = text_with_an_end(server)
    count = whole["num_output_tokens"]
    assert generate(server, prompt, max_tokens=400, ignore_eos=True)["num_output_tokens"] == 400
    assert generate(server, prompt, max_tokens=400, end_id=-1)["num_output_tokens"] == 400
    assert generate(server, prompt, max_tokens=400, min_length=count + 5)["num_output_tokens"] > count + 4
    ids = load_tokenizer(demo_engine).encode(whole["text_output"], add_special_tokens=False).ids
    ended = generate(server, prompt, max_tokens=400, end_id=ids[2])
    assert (ended["num_output_tokens"], ended["finish_reason"]) == (ids.index(ids[2]), "stop")


def test_a_stop_string_may_span_tokens_be_the_first_text_and_have_any_characters(server):
    asked = {"max_tokens": 40, "ignore_eos": True}
    whole = generate(server, PROMPT, **asked)["text_output"]
    for start, end in [(0, 1), (0, 12), (7, 20), (len(whole) - 3, len(whole))]:
        stopped = generate(server, PROMPT, **asked, stop_words=["日本", whole[start:end], "👩‍👩‍👧"])
        assert stopped["text_output"] == whole[: whole.index(whole[start:end])]
        assert stopped["finish_reason"] == "stop"


def test_a_stop_string_in_the_echoed_prompt_stops_nothing(server):
    asked = {"max_tokens": 12, "stop_words": ["package m"]}
    plain = generate(server, PROMPT, **asked)
    echoed = generate(server, PROMPT, **asked, exclude_input_in_output=False)
    assert echoed["text_output"] == PROMPT + plain["text_output"]


def test_a_budget_of_one_token_and_an_end_at_once_give_exactly_one_response(server, demo_engine):
    one = generate(server, PROMPT, max_tokens=1)
    assert (one["num_output_tokens"], one["finish_reason"]) == (1, "length")
    (first,) = load_tokenizer(demo_engine).encode(one["text_output"], add_special_tokens=False).ids
    for answers in ([generate(server, PROMPT, end_id=first)], generate_stream(server, PROMPT, end_id=first)):
        (answer,) = answers
        assert (answer["text_output"], answer["finish_reason"], answer["num_output_tokens"]) == (
            "",
            "stop",
            0,
        )


def test_a_prompt_that_begins_with_bos_gets_no_second_one_unless_it_is_asked_for(server, demo_engine):
    """The demo model is an OPT, whose BOS is </s>."""
    count = len(load_tokenizer(demo_engine).encode(PROMPT).ids)
    begun = f"</s>{PROMPT}"
    assert generate(server, begun, max_tokens=8) == generate(server, PROMPT, max_tokens=8)
    for prompt, asked, tokens in [
        (begun, True, count + 1),
        (begun, False, count),
        (PROMPT, False, count - 1),
    ]:
        answer = generate(server, prompt, max_tokens=1, add_special_tokens=asked)
        assert answer["num_input_tokens"] == tokens
        (over_grpc,) = with_grpc(server, prompt, add_special_tokens=asked)
        assert over_grpc["num_input_tokens"] == tokens


def with_grpc(server, prompt, **fields):
    with GrpcStream(server) as stream:
        return list(stream.ask(text_input=prompt, max_tokens=1, **fields))
