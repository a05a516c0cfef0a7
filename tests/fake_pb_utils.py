# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for triton_python_backend_utils, for tests without a server.

It binds what the stub of tritonserver 2.51.0 binds and the package uses, and nothing else: a misspelt
method is an AttributeError here as it is there. Tensors check dtype and shape, senders refuse to send
after the final flag, which is what the stub does.
"""

import json

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class TritonError:
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    CANCELLED = 7

    def __init__(self, message, code=INTERNAL):
        assert isinstance(message, str)
        assert isinstance(code, int)
        self._message, self._code = message, code

    def message(self):
        return self._message

    def code(self):
        return self._code


class Tensor:
    def __init__(self, name, array):
        assert isinstance(array, np.ndarray), "pb_utils.Tensor takes a numpy array"
        if array.dtype == np.object_:
            assert all(isinstance(value, bytes) for value in array.flat), "BYTES tensors hold bytes"
        self._name, self._array = name, array

    def name(self):
        return self._name

    def as_numpy(self):
        return self._array


class InferenceResponse:
    def __init__(self, output_tensors=None, error=None):
        assert error is None or isinstance(error, TritonError)
        self._tensors, self._error = output_tensors or [], error

    def output_tensors(self):
        return self._tensors

    def has_error(self):
        return self._error is not None

    def error(self):
        return self._error


class ResponseSender:
    def __init__(self):
        self.sent = []
        self._closed = False

    def send(self, response=None, flags=0):
        assert not self._closed, "Unable to send response. Response sender has been closed."
        assert response is None or isinstance(response, InferenceResponse)
        assert response is not None or flags, "a send without response must be final"
        if response is not None:
            self.sent.append(response)
        self._closed = bool(flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_cancelled(self):
        return False


class Request:
    """What the stub hands to execute. Bytes for a text are what HTTP brought: reading it decodes them."""

    def __init__(self, tensors, parameters=None, cancelled=False, request_id="", outputs=None):
        self._tensors, self._parameters, self.cancelled = tensors, parameters, cancelled
        self._request_id = request_id
        self._outputs = outputs or {"text_output", "finish_reason"}
        self._sender = ResponseSender()

    def inputs(self):
        return self._tensors

    def parameters(self):
        if isinstance(self._parameters, bytes):
            return self._parameters.decode()
        return json.dumps(self._parameters) if self._parameters else "{}"

    def is_cancelled(self):
        assert not self._sender._closed, "2.51.0 crashes here: the request has its last response"
        return self.cancelled

    def get_response_sender(self):
        return self._sender

    def request_id(self):
        return self._request_id.decode() if isinstance(self._request_id, bytes) else self._request_id

    def requested_output_names(self):
        return self._outputs


class Metric:
    def __init__(self, kind):
        self._kind, self.value, self.seen = kind, 0.0, []

    def increment(self, value):
        assert self._kind != MetricFamily.HISTOGRAM
        assert self._kind == MetricFamily.GAUGE or value >= 0, "a counter counts up"
        self.value += value

    def set(self, value):
        assert self._kind == MetricFamily.GAUGE
        self.value = value

    def observe(self, value):
        assert self._kind == MetricFamily.HISTOGRAM
        self.seen.append(value)


class MetricFamily:
    COUNTER, GAUGE, HISTOGRAM = range(3)

    def __init__(self, name, description, kind):
        assert all(isinstance(text, str) for text in (name, description))
        self.kind, self.metrics = kind, {}

    def Metric(self, labels, buckets=()):  # noqa: N802
        assert all(isinstance(text, str) for pair in labels.items() for text in pair)
        assert bool(buckets) == (self.kind == self.HISTOGRAM)
        assert list(buckets) == sorted(set(buckets))
        return self.metrics.setdefault(tuple(sorted(labels.items())), Metric(self.kind))


class Logger:
    lines: list[tuple[str, str]] = []

    @classmethod
    def log_info(cls, message):
        cls.lines.append(("info", message))

    @classmethod
    def log_warn(cls, message):
        cls.lines.append(("warn", message))

    @classmethod
    def log_error(cls, message):
        cls.lines.append(("error", message))
