# SPDX-License-Identifier: Apache-2.0
"""The metrics of requests, measured in postprocessing, where each request ends.

Time to first token and inter-token latency are those of streaming requests: a unary one gets no token
before its last. Both are what a client sees: a response of n tokens, a time g after the one before,
is one observation of g/n. One a response, because a call to Triton for each token would cost too much.
"""

from __future__ import annotations

import time
from typing import Any

from llm_ensemble.contract.request import TextOptions
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.telemetry import names
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.request_log import line_writer

# If the sequences of a request ended for different reasons, the last of them in this order counts.
FINISHES = ("stop", "length", "timeout", "cancelled", "error")
# Seconds: from a short prompt on an H200 to a long one on a laptop.
TTFT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 20, 50, 100)
# Finer between 5 and 100 ms, where a reader begins to notice.
ITL_SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04),
    *(0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1, 2, 5),
)
DURATION_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 600)
LENGTHS = tuple(2**power for power in range(18))  # tokens, up to 131,072
# The id of the watchdog's probe, which an idle server gets every few seconds: it is counted like
# any request, but not logged while the server is healthy.
WATCHDOG = "watchdog"
REQUESTS = (names.REQUESTS, "Requests that ended, by why")


class RequestReports:
    """The reports on all requests. log_format, log_text: the settings."""

    def __init__(self, metrics: Metrics, log_format: str, log_text: bool = False) -> None:
        self.write_line, self.log_text = line_writer(log_format), log_text
        self.ended = {finish: metrics.counter(*REQUESTS, finish_reason=finish) for finish in FINISHES}
        self.first_token = metrics.histogram(
            names.TIME_TO_FIRST_TOKEN,
            "Seconds from a streaming request's arrival in preprocessing to its first response with tokens",
            TTFT_SECONDS,
        )
        self.next_token = metrics.histogram(
            names.INTER_TOKEN_LATENCY,
            "Seconds from a stream's token to its next, of each response the mean",
            ITL_SECONDS,
        )
        self.duration = metrics.histogram(
            names.REQUEST_DURATION,
            "Seconds from a request's arrival in preprocessing to its end",
            DURATION_SECONDS,
        )
        self.prompt_length = metrics.histogram(names.PROMPT_LENGTH, "Tokens of a prompt", LENGTHS)
        self.completion_length = metrics.histogram(
            names.COMPLETION_LENGTH, "Tokens of a request's responses, of all its sequences", LENGTHS
        )

    def begin(self, options: TextOptions) -> RequestReport:
        """Return the report on a request whose first chunk has come."""
        return RequestReport(self, options)


class RequestReport:
    """The report on one request."""

    def __init__(self, reports: RequestReports, options: TextOptions) -> None:
        self._to = reports
        self._options = options
        self._tokens = 0
        self._first_at = self._last_at = 0.0  # when tokens were given out, 0 before
        self._texts = [""] * options.num_sequences

    def on_response(self, text: Text) -> None:
        """Count the tokens of a response."""
        tokens = sum(share.num_tokens for share in text.sequences)
        if tokens and self._options.stream:
            self._on_tokens(tokens, time.monotonic())
        self._tokens += tokens
        if self._to.log_text:
            self._texts = [had + share.text for had, share in zip(self._texts, text.sequences)]

    def _on_tokens(self, tokens: int, now: float) -> None:
        if self._last_at:
            self._to.next_token.observe((now - self._last_at) / tokens)
        else:
            self._first_at = now
            self._to.first_token.observe(now - self._options.arrived)
        self._last_at = now

    def on_finish(self, finishes: list[str], name: str) -> None:
        """Count the end of the request, and log it. name: the client's request id, or the stream's."""
        finish = max(finishes, key=FINISHES.index)
        duration = time.monotonic() - self._options.arrived
        self._to.ended[finish].add()
        self._to.duration.observe(duration)
        self._to.prompt_length.observe(self._options.num_input_tokens)
        self._to.completion_length.observe(self._tokens)
        if name == WATCHDOG and self._tokens <= 1 and finish in ("stop", "length"):
            return
        ttft = self._first_at - self._options.arrived if self._first_at else None
        fields: dict[str, Any] = {
            "id": name,
            "tokens_in": self._options.num_input_tokens,
            "tokens_out": self._tokens,
            "ttft_ms": None if ttft is None else round(ttft * 1000, 1),
            "duration_ms": round(duration * 1000, 1),
            "finish": finish,
        }
        if self._options.lora:
            fields["lora"] = self._options.lora
        if self._to.log_text:
            echo = self._options.echo
            fields["prompt"] = self._options.prompt
            fields["texts"] = [text.removeprefix(echo) for text in self._texts]
        self._to.write_line("request", fields)
