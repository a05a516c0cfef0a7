# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.asking import GrpcStream, generate, generate_stream, joined

PROMPT = "The package manager"


def grpc_answers(server, **fields):
    with GrpcStream(server) as stream:
        return list(stream.ask(text_input=PROMPT, **fields))


def test_a_plain_request_gets_one_answer_with_reason_and_usage(server):
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


def test_the_request_id_comes_back(server):
    with GrpcStream(server) as stream:
        (answer,) = stream.ask(text_input=PROMPT, max_tokens=2, request_id="mine-1")
    assert answer["id"] == "mine-1"


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
    whole = generate(server, PROMPT, max_tokens=40)["text_output"]
    stop = whole[20:24]
    responses = grpc_answers(server, max_tokens=40, stream=streamed, stop_words=["no such text", "", stop])
    assert joined(responses) == whole[: whole.index(stop)]
    assert responses[-1]["finish_reason"] == "stop"


def test_the_prompt_comes_first_when_asked_for(server):
    completion = generate(server, PROMPT, max_tokens=8)["text_output"]
    echoed = generate(server, PROMPT, max_tokens=8, exclude_input_in_output=False)["text_output"]
    assert echoed == PROMPT + completion


def test_max_tokens_defaults_to_the_manifest_s(server):
    assert generate(server, PROMPT)["num_output_tokens"] <= 128
