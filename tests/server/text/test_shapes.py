# SPDX-License-Identifier: Apache-2.0
"""The shapes of the outputs: those of NVIDIA's ensemble, whose clients read as_numpy("text_output")[0]."""

import json

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from tests.asking import GrpcStream, generate, post, tensors
from tests.conftest import EVERY_ENGINE

pytestmark = EVERY_ENGINE

ASKED = {"text_input": "The package manager", "max_tokens": 5, "ignore_eos": True, "return_log_probs": True}
SAMPLED = {"temperature": 1.0, "seed": 1, "num_return_sequences": 3}
ONE = {
    **{"text_output": (1,), "finish_reason": (1,), "num_input_tokens": (1, 1), "num_output_tokens": (1, 1)},
    **{"cum_log_probs": (1, 1), "output_log_probs": (1, 1, 5), "output_token_ids": (1, 1, 5)},
}
THREE = {
    **ONE,
    **{"text_output": (3,), "finish_reason": (3,), "sequence_index": (1, 3)},
    **{"cum_log_probs": (1, 3), "output_log_probs": (1, 3, 5), "output_token_ids": (1, 3, 5)},
}


def shapes(result, outputs):
    return {name: result.as_numpy(name).shape for name in outputs}


@pytest.mark.parametrize(("more", "expected"), [({}, ONE), (SAMPLED, THREE)])
def test_a_response_over_grpc(server, more, expected):
    with GrpcStream(server) as stream:
        stream.start(**ASKED, **more)
        (result,) = stream.results()
    assert shapes(result, [output.name for output in result.get_response().outputs]) == expected


def test_each_response_of_a_stream_over_grpc(server):
    with GrpcStream(server) as stream:
        stream.start(**ASKED, stream=True)
        for result in stream.results():
            text = result.as_numpy("text_output")
            assert text.shape == (1,)
            assert isinstance(text[0].decode(), str)


@pytest.mark.parametrize(("more", "expected"), [({}, ONE), (SAMPLED, THREE)])
def test_plain_infer_over_grpc_and_http(server, more, expected):
    with grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}") as client:
        result = client.infer("ensemble_unary", tensors(**ASKED, **more))
    assert shapes(result, expected) == expected
    with httpclient.InferenceServerClient(f"{server.ports.host}:{server.ports.http}") as client:
        over_http = client.infer("ensemble_unary", [as_http(one) for one in tensors(**ASKED, **more)])
    assert shapes(over_http, expected) == expected


def as_http(tensor):
    """The same input for tritonclient's HTTP side."""
    dtype = triton_to_np_dtype(tensor.datatype())
    raw = tensor._get_content()
    one = httpclient.InferInput(tensor.name(), [*tensor.shape()], tensor.datatype())
    array = deserialize_bytes_tensor(raw) if dtype == np.object_ else np.frombuffer(raw, dtype)
    one.set_data_from_numpy(array.reshape(tensor.shape()))
    return one


def test_generate_gives_a_value_for_one_sequence_and_a_flat_list_for_several(server):
    status, text = post(server, "generate", ASKED)
    assert status == 200
    one = json.loads(text)
    assert isinstance(one["text_output"], str)
    assert isinstance(one["num_output_tokens"], int)
    assert isinstance(one["cum_log_probs"], float)
    assert len(one["output_log_probs"]) == 5
    three = generate(server, **ASKED, **SAMPLED)
    assert [type(value) for value in three["text_output"]] == [str] * 3
    assert three["finish_reason"] == ["length"] * 3
    assert len(three["output_log_probs"]) == 15
