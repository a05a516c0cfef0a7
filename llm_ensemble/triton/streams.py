# SPDX-License-Identifier: Apache-2.0
"""Triton's side of a stream: its request of the engine stage, and that of postprocessing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from llm_ensemble.contract.request import Pulse, TextOptions, pulse_from_wire, to_wire
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.postprocessing.outputs import outputs
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.triton.byte_tensors import byte_tensor
from llm_ensemble.triton.stages import FINAL, end, error_response, make_error, request_id

KEPT = {"finish_reason", "num_input_tokens", "num_output_tokens", "sequence_index"}


class StreamOutlet:
    """The engine stage's request (engine_stage/outlet.py)."""

    def __init__(self, request: Any) -> None:
        self._sender = request.get_response_sender()

    def pulse(self, pulse: Pulse, *, last: bool = False) -> None:
        """Send a pulse to postprocessing."""
        response = pb_utils.InferenceResponse(output_tensors=[byte_tensor("pulse", to_wire(pulse))])
        self._sender.send(response, flags=FINAL if last else 0)

    def end(self, error: str = "") -> None:
        """End the request."""
        if error:
            self._sender.send(make_error(error, pb_utils.TritonError.INTERNAL), flags=FINAL)
        else:
            self._sender.send(flags=FINAL)


class StreamReply:
    """The request of a stream's first pulse (postprocessing/postprocessor.py): all responses answer it."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()

    def send(self, text: Text | None, *, last: bool) -> None:
        """Send a response, or the end."""
        flags = FINAL if last else 0
        if text is None:
            self._sender.send(flags=flags)
        else:
            self._sender.send(stream_response(text), flags=flags)

    def fail(self, error: Exception) -> None:
        """End the request with an error."""
        self._sender.send(error_response(self._request, error), flags=FINAL)


class Pulses:
    """Takes the pulses that Triton brings to postprocessing.

    begin: begins a stream (Postprocessor.begin). claim: asks for its chunks. abort: aborts it.
    """

    def __init__(
        self,
        begin: Callable[..., None],
        claim: Callable[[int, int], None],
        abort: Callable[[StreamId], None],
    ) -> None:
        self._begin, self._claim, self._abort = begin, claim, abort

    def take(self, request: Any) -> None:
        """Begin a stream with its first pulse; abort it if a later one shows a client disconnect."""
        try:
            (tensor,) = request.inputs()
            pulse = pulse_from_wire(tensor.as_numpy())
            if pulse.text:
                self._open(request, pulse, pulse.text)
                return
            if request.is_cancelled():
                self._abort(StreamId(pulse.stream))
            end(request)
        except Exception as error:
            end(request, error_response(request, error))

    def _open(self, request: Any, pulse: Pulse, options: TextOptions) -> None:
        claim = functools.partial(self._claim, pulse.stream, pulse.engine)
        self._begin(StreamId(pulse.stream), options, StreamReply(request), request_id(request), claim)


def stream_response(text: Text) -> Any:
    """Return a Text as a response of the ensemble; tensors that come again and again are made once.

    A tensor keeps its place in shared memory, so one that is sent again is not even copied.
    """
    tensors = []
    for name, array in outputs(text).items():
        if name in KEPT:
            tensors.append(_kept_tensor(name, array.dtype.char, array.shape, tuple(array.flat)))
        else:
            tensors.append(pb_utils.Tensor(name, array))
    return pb_utils.InferenceResponse(output_tensors=tensors)


@functools.lru_cache(1024)
def _kept_tensor(name: str, dtype: str, shape: tuple[int, ...], values: tuple[Any, ...]) -> Any:
    return pb_utils.Tensor(name, np.array(values, dtype=dtype).reshape(shape))


def forget_tensors() -> None:
    """Drop what is kept. To be called in finalize: later the shared memory is gone."""
    _kept_tensor.cache_clear()
