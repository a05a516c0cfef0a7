# SPDX-License-Identifier: Apache-2.0
"""Triton's side of ensemble_unary: a unary request, forwarded to the ensemble by a BLS call."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import triton_python_backend_utils as pb_utils

from llm_ensemble.contract.fields import check_outputs
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.error_text import parse_error
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.ipc.unary_results import UnaryResults
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.triton.stages import (
    OnError,
    check_envelope,
    end,
    error_response,
    make_error,
    text_response,
)

LOG_PROBS = {"cum_log_probs", "output_log_probs", "output_token_ids", "top_token_ids", "top_token_log_probs"}
RESULT_SECONDS = 5  # what a socket of this machine may take


class UnaryCall:
    """A request of ensemble_unary: calls the ensemble, waits, responds once, with the same error codes."""

    def __init__(self, request: Any, results: UnaryResults, on_error: OnError) -> None:
        self._request = request
        self._results = results
        self._on_error = on_error
        # Asking about a request after its response crashes tritonserver 2.51.0, so both hold the lock.
        self._lock = threading.Lock()
        self._has_responded = False

    @property
    def is_disconnected(self) -> bool:
        """Whether the client has disconnected; Triton knows it only of gRPC clients."""
        with self._lock:
            return not self._has_responded and bool(self._request.is_cancelled())

    def run(self, stream_id: StreamId) -> None:
        """Forward the request as the stream of this id, and respond with its result."""
        self._send(self._forward(stream_id))

    def fail(self, error: Exception) -> None:
        """Respond with an error."""
        self._send(error_response(self._request, error, self._on_error))

    def _send(self, response: Any) -> None:
        with self._lock:
            self._has_responded = True
            end(self._request, response)

    def _forward(self, stream_id: StreamId) -> Any:
        check_outputs(self._request.requested_output_names())
        check_envelope(self._request)  # here, since a BLS call passes on less than a client may send
        for tensor in self._request.inputs():
            if tensor.name() == "stream" and tensor.as_numpy().any():
                raise RequestError("stream", "got true; this model answers once, ask 'ensemble' for a stream")
        call = pb_utils.InferenceRequest(
            model_name="ensemble",
            requested_output_names=["text_output"],
            inputs=self._request.inputs(),
            request_id=self._request.request_id(),
            correlation_id=stream_id.correlation_id,
        )
        with self._results.pending(stream_id) as result:
            for response in call.exec(decoupled=True):
                if response.has_error():
                    return _with_code(response.error())
            return self._response(self._wait(result))

    def _wait(self, result: concurrent.futures.Future[Text]) -> Text:
        """Return the result; it was sent before the call ended, unless the client has disconnected."""
        try:
            return result.result(0 if self.is_disconnected else RESULT_SECONDS)
        except concurrent.futures.TimeoutError as error:
            raise EngineError("the ensemble sent no result") from error

    def _response(self, text: Text) -> Any:
        if not text.log_probs and set(self._request.requested_output_names()) <= LOG_PROBS:
            raise RequestError("return_log_probs", "not true, but nothing else is asked for; send true")
        return text_response(text)


def _with_code(error: Any) -> Any:
    """Return an error of the ensemble as a response, with its code.

    On 2.51.0 a BLS call gives INTERNAL for every error; from 25.04 on it keeps the code (python_backend
    7f21b67).
    """
    parsed, code = parse_error(error.message()), error.code()
    if code == pb_utils.TritonError.INTERNAL:
        if parsed.field:
            code = pb_utils.TritonError.INVALID_ARG
        elif parsed.is_overloaded:
            code = pb_utils.TritonError.UNAVAILABLE
    return make_error(parsed.message, code)
