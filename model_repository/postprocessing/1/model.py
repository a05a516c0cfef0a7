# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.postprocessing.postprocessor: chunks of token ids in, text out."""

from llm_ensemble.engines.kinds import read_served
from llm_ensemble.ipc.aborts import AbortSender
from llm_ensemble.ipc.unary_results import UnaryResultSender
from llm_ensemble.postprocessing.postprocessor import Postprocessor
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.request_metrics import RequestReports
from llm_ensemble.triton import stages


class TritonPythonModel:
    """Decoupled, because a chunk need not make a response: a unary request has one, at its end."""

    def initialize(self, args):
        stages.start_log()
        stages.require_order(args)
        settings, _ = read_served()
        tokenizer = load_tokenizer(settings.engine_dir)
        aborts = AbortSender(settings.engine.instances)
        self._metrics = Metrics(stages.metric_family)
        reports = RequestReports(self._metrics, settings.log_format, settings.log_text)
        self._metrics.start()
        self._postprocessor = Postprocessor(tokenizer, aborts.abort, UnaryResultSender().send, reports.begin)

    def execute(self, requests):
        for request in requests:
            try:
                text = self._postprocessor.add(*stages.read_chunk(request))
                stages.end(request, stages.text_response(text) if text else None)
            except Exception as error:
                stages.end(request, stages.error_response(request, error))

    def finalize(self):
        self._metrics.close()
