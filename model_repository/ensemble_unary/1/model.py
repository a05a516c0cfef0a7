# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.unary: the ensemble for clients that know plain infer alone."""

from llm_ensemble import triton
from llm_ensemble.aborts import AbortSender
from llm_ensemble.answers import Answers
from llm_ensemble.manifest import read_manifest
from llm_ensemble.metrics import Metrics
from llm_ensemble.refusals import Refusals
from llm_ensemble.settings import read_gpu_settings, read_settings
from llm_ensemble.triton_unary import UnaryCall
from llm_ensemble.unary import Forwarder, most_calls


class TritonPythonModel:
    """execute returns at once; each request is answered by its own thread."""

    def initialize(self, args):
        triton.start_log()
        settings = read_settings()
        instances = read_gpu_settings().instances
        limits = read_manifest(settings.engine_dir).limits
        self._answers = Answers()
        most = most_calls(limits.max_batch_size, settings.max_waiting, instances)
        self._metrics = Metrics(triton.metric_family)
        self._refusals = Refusals(self._metrics, settings.log_format, failures=False)
        self._metrics.start()
        self._forwarder = Forwarder(most, AbortSender(instances).abort)

    def execute(self, requests):
        for request in requests:
            self._forwarder.forward(UnaryCall(request, self._answers, self._refusals.add))

    def finalize(self):
        self._forwarder.close()
        self._metrics.close()
