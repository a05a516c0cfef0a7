# SPDX-License-Identifier: Apache-2.0
"""Triton's side of ensemble_unary: a request with one response."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from llm_ensemble.contract.request import TextOptions
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.contract.unserved import check_outputs
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.preprocessing.preprocessor import Prepared, Preprocessor
from llm_ensemble.triton.stages import OnError, end, error_response, read_fields, request_id
from llm_ensemble.triton.streams import stream_response

LOG_PROBS = {"cum_log_probs", "output_log_probs", "output_token_ids", "top_token_ids", "top_token_log_probs"}


class UnaryCall:
    """A request of ensemble_unary. on_error: counts what was rejected or failed before it began."""

    def __init__(self, request: Any, on_error: OnError) -> None:
        self.label = request_id(request)
        self.on_end: Callable[[], None] = lambda: None
        self._request = request
        self._on_error = on_error
        # Asking about a request after its response crashes tritonserver 2.51.0, so both hold the lock.
        self._lock = threading.Lock()
        self._has_responded = False

    def prepare(self, preprocessor: Preprocessor) -> Prepared:
        """Return the token ids and the record of the request. Raise what is wrong with it."""
        outputs = set(self._request.requested_output_names())
        check_outputs(outputs)
        (prepared,) = preprocessor.prepare([self._fields()])
        if isinstance(prepared, Exception):
            raise prepared
        _check_log_probs(outputs, prepared[1].text)
        return prepared

    def _fields(self) -> RequestFields:
        fields = read_fields(self._request)
        if fields.stream:
            raise RequestError("stream", "got true; this model answers once, ask 'ensemble' for a stream")
        return fields

    @property
    def is_disconnected(self) -> bool:
        """Whether the client has disconnected; Triton knows it only of gRPC clients."""
        with self._lock:
            return not self._has_responded and bool(self._request.is_cancelled())

    def send(self, text: Text | None, *, last: bool) -> None:
        """Respond with the text, which is whole: that of a request that does not stream."""
        if text is None:
            raise EngineError("the engine stage sent no text")
        self._end(stream_response(text))

    def fail(self, error: Exception) -> None:
        """Respond with an error."""
        self._end(error_response(self._request, error))

    def reject(self, error: Exception) -> None:
        """Respond with an error, and count it."""
        self._end(error_response(self._request, error, self._on_error))

    def _end(self, response: Any) -> None:
        with self._lock:
            if self._has_responded:
                return
            self._has_responded = True
            try:
                end(self._request, response)
            finally:
                self.on_end()


def _check_log_probs(outputs: set[str], options: TextOptions) -> None:
    if outputs <= LOG_PROBS and not options.log_probs:
        raise RequestError("return_log_probs", "not true, but nothing else is asked for; send true")
