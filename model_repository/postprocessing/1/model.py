# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.completion: chunks of token ids in, text out."""

from llm_ensemble import triton
from llm_ensemble.aborts import AbortSender
from llm_ensemble.answers import AnswerSender
from llm_ensemble.completion import Postprocessor
from llm_ensemble.metrics import Metrics
from llm_ensemble.prompt import load_tokenizer
from llm_ensemble.request_report import RequestReports
from llm_ensemble.settings import read_gpu_settings, read_settings


class TritonPythonModel:
    """Decoupled, because a chunk need not make a response: a plain request answers once, at its end."""

    def initialize(self, args):
        triton.start_log()
        triton.require_order(args)
        settings = read_settings()
        tokenizer = load_tokenizer(settings.engine_dir)
        aborts = AbortSender(read_gpu_settings().instances)
        self._metrics = Metrics(triton.metric_family)
        reports = RequestReports(self._metrics, settings.log_format, settings.log_text)
        self._metrics.start()
        self._postprocessor = Postprocessor(tokenizer, aborts.abort, AnswerSender().send, reports.begin)

    def execute(self, requests):
        for request in requests:
            try:
                text = self._postprocessor.add(*triton.read_chunk(request))
                triton.end(request, triton.text_response(text) if text else None)
            except Exception as error:
                triton.end(request, triton.error_response(request, error))

    def finalize(self):
        self._metrics.close()
