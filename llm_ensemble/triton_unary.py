# SPDX-License-Identifier: Apache-2.0
"""Triton's side of ensemble_unary: a plain request, forwarded to the ensemble by a BLS call."""

from __future__ import annotations

import concurrent.futures
import re
import threading
from typing import Any

import triton_python_backend_utils as pb_utils

from llm_ensemble.answers import Answers
from llm_ensemble.completion import Text
from llm_ensemble.errors import QUEUE_FULL, EngineError, RequestError
from llm_ensemble.triton import (
    CORRELATION,
    TellError,
    check_envelope,
    end,
    error_response,
    make_error,
    text_response,
)

LOG_PROBS = {"cum_log_probs", "output_log_probs"}
ANSWER_SECONDS = 5  # what a socket of this machine may take
PREFIX = "in ensemble 'ensemble', "  # what Triton's core puts before an error of a step


class UnaryCall:
    """A request of ensemble_unary: asks the ensemble, waits, answers once, with the same error codes."""

    def __init__(self, request: Any, answers: Answers, tell: TellError) -> None:
        self._request = request
        self._tell = tell
        self._answers = answers
        # To look at a request that has its answer crashes tritonserver 2.51.0: whoever looks holds the lock.
        self._lock = threading.Lock()
        self._answered = False

    @property
    def client_left(self) -> bool:
        """Whether the client has gone; Triton knows it of gRPC clients alone."""
        with self._lock:
            return not self._answered and bool(self._request.is_cancelled())

    def ask(self, number: int) -> None:
        """Forward the request as the stream `number` and send its answer."""
        self._send(self._answer(number))

    def fail(self, error: Exception) -> None:
        """Answer with an error instead."""
        self._send(error_response(self._request, error, self._tell))

    def _send(self, response: Any) -> None:
        with self._lock:
            self._answered = True
            end(self._request, response)

    def _answer(self, number: int) -> Any:
        check_envelope(self._request)  # here, since a BLS call passes on less than a client may send
        for tensor in self._request.inputs():
            if tensor.name() == "stream" and tensor.as_numpy().any():
                raise RequestError("stream", "got true; this model answers once, ask 'ensemble' for a stream")
        asked = pb_utils.InferenceRequest(
            model_name="ensemble",
            requested_output_names=["text_output"],
            inputs=self._request.inputs(),
            request_id=self._request.request_id(),
            correlation_id=CORRELATION.format(number),
        )
        with self._answers.expect(number) as answer:
            for response in asked.exec(decoupled=True):
                if response.has_error():
                    return _error_again(response.error().message().removeprefix(PREFIX))
            return self._response(self._wait(answer))

    def _wait(self, answer: concurrent.futures.Future[Text]) -> Text:
        """It was sent before the call ended, unless the client left."""
        try:
            return answer.result(0 if self.client_left else ANSWER_SECONDS)
        except concurrent.futures.TimeoutError as error:
            raise EngineError("the ensemble gave no answer") from error

    def _response(self, text: Text) -> Any:
        if not text.log_probs and set(self._request.requested_output_names()) <= LOG_PROBS:
            raise RequestError("return_log_probs", "not true, but nothing else is asked for; send true")
        return text_response(text)


def _error_again(message: str) -> Any:
    """An error of the ensemble with its code again: on 2.51.0 a BLS call gives INTERNAL for every one."""
    code = pb_utils.TritonError.INTERNAL
    if message.startswith(QUEUE_FULL):
        code = pb_utils.TritonError.UNAVAILABLE
    elif re.match(r"[^\s:]+: ", message):
        code = pb_utils.TritonError.INVALID_ARG
    return make_error(message, code)
