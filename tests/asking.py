# SPDX-License-Identifier: Apache-2.0
"""How the tests ask a server, the way clients do: plain HTTP and tritonclient's gRPC."""

import http.client
import json
import queue
import urllib.request

import numpy as np
import tritonclient.grpc as grpcclient

from llm_ensemble.contract.fields import FIELDS

DTYPE = {"BYTES": np.object_, "INT32": np.int32, "UINT64": np.uint64, "FP32": np.float32, "BOOL": np.bool_}
SECONDS = 60


def post(server, path, body, model="ensemble"):
    """POST to a model; status and body."""
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=SECONDS)
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection.request("POST", f"/v2/models/{model}/{path}", body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def generate(server, text_input, **fields):
    """The one answer of /generate."""
    status, text = post(server, "generate", {"text_input": text_input, **fields})
    assert status == 200, text
    return json.loads(text)


def generate_stream(server, text_input, **fields):
    """The events of /generate_stream."""
    status, text = post(server, "generate_stream", {"text_input": text_input, "stream": True, **fields})
    assert status == 200, text
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


def refusal(server, body, path="generate", model="ensemble"):
    """Status and message of a request that must fail."""
    status, text = post(server, path, body, model)
    return status, json.loads(text.removeprefix("data: "))["error"]


def triton_version(server):
    """Return the version that the server tells; "2.51.0" is the wheel's."""
    with urllib.request.urlopen(f"{server.ports.http_url}/v2", timeout=SECONDS) as answer:
        return json.load(answer)["version"]


def is_newer(server):
    """Return whether this Triton is newer than 2.51.0, for tests of what the two do differently."""
    return [*map(int, triton_version(server).split("."))] > [2, 51, 0]


# Prompts of which some have a short text on the demo model; which ones, its precision and the CPU decide.
PROMPTS = ("If you want to", "The server", "To change the settings,", "Note that", "A package", "A file")


def text_with_an_end(server, **fields):
    """Return a prompt whose text ends by itself within 400 tokens, and the answer of /generate."""
    for prompt in PROMPTS:
        answer = generate(server, prompt, max_tokens=400, **fields)
        if answer["finish_reason"] == "stop" and answer["num_output_tokens"] > 2:
            return prompt, answer
    raise AssertionError(f"no text of these ends by itself: {PROMPTS}")


def tensor(name, values, datatype=None, shape=None):
    """An InferInput; strings may be given as bytes to send what is not UTF-8."""
    datatype = datatype or FIELDS[name].datatype
    array = np.array([v.encode() if isinstance(v, str) else v for v in values], dtype=DTYPE[datatype])
    array = array.reshape(shape or (1, len(values)))
    one = grpcclient.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array)
    return one


def tensors(**fields):
    """An InferInput a field."""
    return [tensor(name, value if isinstance(value, list) else [value]) for name, value in fields.items()]


def as_infer(**fields):
    """An /infer body."""
    datatypes = {str: "BYTES", int: "INT32", bool: "BOOL"}
    return {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": datatypes[type(value)], "data": [value]}
            for name, value in fields.items()
        ]
    }


class GrpcStream:
    """A gRPC ModelStreamInfer stream: ask, then iterate over the responses of the one request.

    Leaving the block before the last response cancels the request. It must not cancel after an error:
    tritonserver 2.51.0 then keeps the model for ever and cannot stop cleanly (docs/decisions.md).
    """

    def __init__(self, server):
        self._client = grpcclient.InferenceServerClient(server.ports.grpc_netloc)
        self._answers = queue.Queue()
        self._under_way = False
        self._client.start_stream(lambda result, error: self._answers.put((result, error)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.stop_stream(cancel_requests=self._under_way)
        self._client.close()

    def start(self, *inputs, request_id="", options=None, **fields):
        """Send one request and wait for nothing."""
        inputs = [*inputs, *tensors(**fields)]
        self._client.async_stream_infer("ensemble", inputs, request_id=request_id, **(options or {}))
        self._under_way = True

    def ask(self, *inputs, **fields):
        """Send one request; its responses, as dicts of Python values, as they come."""
        self.start(*inputs, **fields)
        for result in self.results():
            response = result.get_response()
            outputs = {o.name: result.as_numpy(o.name) for o in response.outputs}
            yield {"id": response.id, **_values(outputs)}

    def results(self):
        """What tritonclient has of the responses, until every sequence has ended."""
        while self._under_way:
            result, error = self._answers.get(timeout=SECONDS)
            self._under_way = not error and not all(result.as_numpy("finish_reason"))
            if error:
                raise error
            yield result


def _values(outputs):
    """As /generate gives them: what has one value as that value, what has several as a list."""
    strings = ("text_output", "finish_reason")  # these alone have no batch dimension
    values = {name: array[0].tolist() for name, array in outputs.items() if name not in strings}
    values |= {name: [value.decode() for value in outputs[name]] for name in strings}
    return {name: value[0] if len(value) == 1 else value for name, value in values.items()}


def joined(responses):
    """The text of a stream."""
    return "".join(response["text_output"] for response in responses)
