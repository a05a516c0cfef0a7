# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.triton.unary_calls: the ensemble for clients that know no streams."""

from llm_ensemble.engines.kinds import read_served
from llm_ensemble.preprocessing.preprocessor import load_preprocessor, load_tokenizer
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.rejections import Rejections
from llm_ensemble.telemetry.request_metrics import RequestReports
from llm_ensemble.triton import stages, streams
from llm_ensemble.triton.unary_calls import UnaryCalls
from llm_ensemble.triton.unary_stage import UnaryCall


class TritonPythonModel:
    """execute returns at once; each request is answered when its last chunk has come."""

    def initialize(self, args):
        stages.start_log()
        settings, _ = read_served()
        instance, engines = stages.instance_number(args), settings.engine.instances
        self._metrics = Metrics(stages.metric_family)
        self._rejections = Rejections(self._metrics, settings.log_format)
        reports = RequestReports(self._metrics, settings.log_format, settings.log_text)
        self._metrics.start()
        tokenizer = load_tokenizer(settings.engine_dir)
        self._preprocessor = load_preprocessor(settings, tokenizer)
        self._calls = UnaryCalls(instance, engines, tokenizer, reports.begin)

    def execute(self, requests):
        for request in requests:
            call = UnaryCall(request, self._rejections.add)
            try:
                self._calls.start(call, *call.prepare(self._preprocessor))
            except Exception as error:
                call.reject(error)

    def finalize(self):
        self._calls.close()
        self._metrics.close()
        streams.forget_tensors()
