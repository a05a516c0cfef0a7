# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.postprocessing.postprocessor: chunks of token ids in, text out."""

from llm_ensemble.engines.kinds import read_served
from llm_ensemble.ipc.aborts import AbortSender
from llm_ensemble.ipc.chunks import ChunkReceiver, ClaimSender, postprocessing
from llm_ensemble.postprocessing.postprocessor import Postprocessor
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.request_metrics import RequestReports
from llm_ensemble.triton import stages, streams


class TritonPythonModel:
    """Triton brings the pulses of a stream; its chunks come beside Triton, and make the responses."""

    def initialize(self, args):
        stages.start_log()
        stages.require_no_queue(args)
        settings, _ = read_served()
        instance, engines = stages.instance_number(args), settings.engine.instances
        tokenizer = load_tokenizer(settings.engine_dir)
        aborts, claims = AbortSender(engines), ClaimSender(instance, engines)
        self._metrics = Metrics(stages.metric_family)
        reports = RequestReports(self._metrics, settings.log_format, settings.log_text)
        self._metrics.start()
        self._postprocessor = Postprocessor(tokenizer, aborts.abort, reports.begin)
        self._pulses = streams.Pulses(self._postprocessor.begin, claims.claim, aborts.abort)
        self._chunks = ChunkReceiver(postprocessing(instance), self._postprocessor.add)

    def execute(self, requests):
        for request in requests:
            self._pulses.take(request)

    def finalize(self):
        self._metrics.close()
        streams.forget_tensors()
