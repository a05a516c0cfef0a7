# SPDX-License-Identifier: Apache-2.0
"""Bad input is the caller's fault: 400, the field's name first, and the server goes on.

Triton puts "in ensemble 'ensemble', " before a step's message; what follows is ours. What Triton's own
HTTP front refuses before any step sees it, JSON of the wrong type, has Triton's words and status 500 on
2.51.0 (docs/decisions.md).
"""

import concurrent.futures

import pytest
from tritonclient.utils import InferenceServerException

from tests.asking import GrpcStream, generate, post, refusal, tensor

OURS = "in ensemble 'ensemble', "


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"text_input": ""}, "text_input: empty; send at least one character"),
        ({"max_tokens": 5}, "text_input: missing; send the prompt"),
        ({"text_input": "a", "max_tokens": 0}, "max_tokens: got 0, must be at least 1"),
        ({"text_input": "a", "max_tokens": 5000}, "max_tokens: got 5000, must be at most 510 here"),
        ({"text_input": "word " * 600}, "text_input: "),
        ({"text_input": "a", "temprature": 1}, "temprature: unknown field; did you mean temperature?"),
        ({"text_input": "a", "parameters": {"n": 2}}, "n: unknown field; the fields are "),
        # Over gRPC and /infer these are Triton's own; as JSON keys nobody would act on them.
        ({"text_input": "a", "timeout": 5}, "timeout: unknown field"),
        ({"text_input": "a", "priority": 1}, "priority: unknown field"),
        ({"text_input": "a", "temperature": -1}, "temperature: got -1, must be at least 0 and at most 100"),
        ({"text_input": "a", "top_p": 1.5}, "top_p: got 1.5, must be at least 0 and at most 1"),
        ({"text_input": "a", "top_k": -1}, "top_k: got -1, must be at least 0"),
        ({"text_input": "a", "messages": "[]"}, "messages: text_input is there too; send one of them"),
        ({"messages": "[]"}, "messages: this model has no chat template; send text_input"),
        ({"text_input": ["a", "b"]}, "text_input: a batch of 2 in one request; send one request each"),
        (b'{"text_input": "a\xff"}', "text_input: not UTF-8 (byte 1 of 2); send UTF-8"),
    ],
)
@pytest.mark.parametrize("path", ["generate", "generate_stream"])
def test_a_bad_request_gets_400_and_a_message_that_begins_with_the_field(server, body, told, path):
    status, message = refusal(server, body, path)
    assert status == 400
    assert message.startswith(OURS + told)
    assert generate(server, "a", max_tokens=1)["finish_reason"]


@pytest.mark.parametrize(
    "body",
    [
        {"text_input": 5},
        {"text_input": None},
        {"text_input": "a", "max_tokens": "ten"},
        {"text_input": "a", "max_tokens": 1.5},
        {"text_input": "a", "stream": "yes"},
        {"text_input": "a", "seed": -1},
        b'{"text_input": "a"',
    ],
)
def test_json_of_the_wrong_type_is_refused_by_triton_and_the_server_goes_on(server, body):
    status, message = refusal(server, body)
    assert status in (400, 500)  # 500 on 2.51.0
    assert message
    assert generate(server, "a", max_tokens=1)["finish_reason"]


def grpc_refusal(server, *tensors, **fields):
    with GrpcStream(server) as stream, pytest.raises(InferenceServerException) as caught:
        list(stream.ask(*tensors, **fields))
    return caught.value.message()


def test_over_grpc_our_message_is_the_same(server):
    assert grpc_refusal(server, tensor("text_input", [b"\xff"])).startswith(OURS + "text_input: not UTF-8")
    assert grpc_refusal(server, text_input="a", max_tokens=0).startswith(OURS + "max_tokens: got 0")


@pytest.mark.parametrize(
    "option", [{"timeout": 10**8}, {"priority": 1}, {"enable_empty_final_response": True}]
)
def test_triton_s_own_request_options_are_no_unknown_fields(server, option):
    with GrpcStream(server) as stream:
        assert list(stream.ask(text_input="a", max_tokens=1, options=option))


def test_over_grpc_triton_refuses_wrong_types_and_unknown_inputs_by_name(server):
    wrong = grpc_refusal(server, tensor("max_tokens", [1.0], "FP32"), text_input="a")
    assert "input 'max_tokens' data-type is 'FP32'" in wrong
    unknown = tensor("max_tokens", [1])
    unknown._input.name = "max_token"
    assert "unexpected inference input 'max_token'" in grpc_refusal(server, unknown, text_input="a")


def test_a_bad_request_does_not_touch_its_neighbours(server):
    """Sent together, so that the dynamic batcher may put them into one execute of preprocessing."""

    def status(i):
        return post(server, "generate", {"text_input": "The server", "max_tokens": 10 * (i % 2)})[0]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert list(pool.map(status, range(64))) == [400, 200] * 32


def test_the_steps_behind_the_ensemble_say_who_to_ask(server):
    status, text = post(server, "generate", {"input_ids": [1]}, model="tensorrt_llm")
    assert (status, "ask 'ensemble'" in text) == (400, True)
