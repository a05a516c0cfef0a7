# SPDX-License-Identifier: Apache-2.0
"""What clients of NVIDIA's ensemble send and ask for by name beyond our fields."""

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from llm_ensemble.contract.unserved import NEVER_SENT, UNSERVED
from tests.asking import GrpcStream, generate, post, refusal, tensors

PROMPT = "The package manager"
DTYPE = {
    **{"BOOL": np.bool_, "INT32": np.int32, "UINT64": np.uint64, "FP32": np.float32, "FP16": np.float16},
    **{"UINT8": np.uint8, "BYTES": np.object_},
}
ASKING = {"BOOL": True, "BYTES": b"x"}  # of other types, 1
SEQUENCES = {"temperature": 1.0, "seed": 1, "num_return_sequences": 3}
ALWAYS = ("return_num_input_tokens", "return_num_output_tokens")  # whatever they say
OURS = "in ensemble 'ensemble', "


def tensor(name, value=None):
    """One of UNSERVED: of the shape [1, 1 ...] with a value, else without values."""
    dims = [max(size, 1 if value is not None else 0) for size in UNSERVED[name].dims]
    array = np.full([1, *dims], value, dtype=DTYPE[UNSERVED[name].datatype])
    one = grpcclient.InferInput(name, [*array.shape], np_to_triton_dtype(array.dtype))
    one.set_data_from_numpy(array)
    return one


def answer(server, *inputs):
    with GrpcStream(server) as stream:
        (response,) = stream.ask(*inputs, text_input=PROMPT, max_tokens=4)
    return response


def test_values_that_ask_for_nothing_are_welcome_over_grpc(server):
    inputs = [
        tensor(name, unserved.neutral[-1] if unserved.neutral else None)
        for name, unserved in UNSERVED.items()
    ]
    plain = answer(server)
    assert answer(server, *inputs)["text_output"] == plain["text_output"]


def test_values_that_ask_for_nothing_are_welcome_over_http(server):
    fields = {
        name: value.decode() if isinstance(value := unserved.neutral[0], bytes) else value
        for name, unserved in UNSERVED.items()
        if unserved.neutral
    }
    plain = generate(server, PROMPT, max_tokens=4)
    assert generate(server, PROMPT, max_tokens=4, pad_id=50_256, **fields) == plain


@pytest.mark.parametrize("name", [name for name in UNSERVED if name not in ALWAYS])
def test_a_value_that_asks_is_refused_by_name_with_what_to_do(server, name):
    value = ASKING.get(UNSERVED[name].datatype, 1)
    told = f"{name}: {UNSERVED[name].instead}"
    with pytest.raises(InferenceServerException) as caught:
        answer(server, tensor(name, value))
    assert caught.value.message() == OURS + told
    with (
        grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}") as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        client.infer("ensemble_unary", [*tensors(text_input=PROMPT), tensor(name, value)])
    assert (caught.value.message(), caught.value.status()) == (told, "StatusCode.INVALID_ARGUMENT")
    if len(UNSERVED[name].dims) == 1:  # /generate makes no tensor of more dimensions
        value = value.decode() if isinstance(value, bytes) else value
        assert refusal(server, {"text_input": PROMPT, name: value}) == (400, OURS + told)


def test_words_with_a_bias_reach_the_engine_or_are_refused_for_it(server):
    """An empty word or a weight of 0 alone is what NVIDIA's clients send for none."""
    plain = generate(server, PROMPT, max_tokens=4)
    for words, weights in ([[""], [0]], [["a"], [0.0]], [[""], [5.0]], [[], []]):
        bias = {"embedding_bias_words": words, "embedding_bias_weights": weights}
        assert generate(server, PROMPT, max_tokens=4, **bias) == plain
    first = plain["text_output"][: len(" settings")]
    bias = {"embedding_bias_words": [first], "embedding_bias_weights": [-100.0]}
    assert not generate(server, PROMPT, max_tokens=4, **bias)["text_output"].startswith(first)
    bias = {"embedding_bias_words": ["manager"], "embedding_bias_weights": [5.0]}
    told = "the openvino engine has -100 alone, which forbids a token; leave it out"
    assert refusal(server, {"text_input": PROMPT, **bias}) == (400, f"{OURS}embedding_bias_words: {told}")
    bias["embedding_bias_weights"] = [5.0, 1.0]
    told = "got 2, must be one for each of embedding_bias_words, 1"
    assert refusal(server, {"text_input": PROMPT, **bias}) == (400, f"{OURS}embedding_bias_weights: {told}")


def asked_outputs(*names):
    return {"outputs": [grpcclient.InferRequestedOutput(name) for name in names]}


def test_every_output_may_be_asked_for_by_name(server):
    """NVIDIA's client names some whatever comes; a step of an ensemble is not told which were named."""
    with GrpcStream(server) as stream:
        options = asked_outputs("text_output", "finish_reason", "batch_index", *NEVER_SENT)
        stream.start(text_input=PROMPT, max_tokens=4, options=options)
        (result,) = stream.results()
    assert {output.name for output in result.get_response().outputs} == {"text_output", "finish_reason"}


def test_sequence_index_numbers_the_sequences_of_a_response(server):
    with GrpcStream(server) as stream:
        options = asked_outputs("text_output", "finish_reason", "sequence_index")
        stream.start(text_input=PROMPT, max_tokens=4, **SEQUENCES, options=options)
        (result,) = stream.results()
    assert result.as_numpy("sequence_index").tolist() == [[0, 1, 2]]
    assert result.as_numpy("text_output").shape == (3,)
    assert generate(server, PROMPT, max_tokens=4, **SEQUENCES)["sequence_index"] == [0, 1, 2]
    assert "sequence_index" not in generate(server, PROMPT, max_tokens=4)


@pytest.mark.parametrize("name", NEVER_SENT)
def test_ensemble_unary_refuses_an_output_that_never_comes(server, name):
    with grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}") as client:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("ensemble_unary", tensors(text_input=PROMPT), **asked_outputs("text_output", name))
        assert caught.value.message() == f"{name}: {NEVER_SENT[name]}"
        assert client.infer("ensemble_unary", tensors(text_input=PROMPT, max_tokens=1))


@pytest.mark.parametrize("body", [{"text_input": PROMPT, "max_tokens": 3}, {"messages": "[]"}])
def test_the_engine_step_asked_directly_says_what_to_ask(server, body):
    status, text = post(server, "generate", body, model="tensorrt_llm")
    assert status == 400
    assert "this model is a stage of the ensemble; ask 'ensemble' instead of it" in text
