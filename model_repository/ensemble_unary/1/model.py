# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.triton.forwarder: the ensemble for clients that know plain infer alone."""

from llm_ensemble.engines.kinds import read_served
from llm_ensemble.ipc.aborts import AbortSender
from llm_ensemble.ipc.unary_results import UnaryResults
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.rejections import Rejections
from llm_ensemble.triton import stages
from llm_ensemble.triton.forwarder import Forwarder, max_calls
from llm_ensemble.triton.unary_stage import UnaryCall


class TritonPythonModel:
    """execute returns at once; each request is answered by its own thread."""

    def initialize(self, args):
        stages.start_log()
        settings, manifest = read_served()
        limits, instances = manifest.limits, settings.engine.instances
        self._results = UnaryResults()
        limit = max_calls(limits.max_batch_size, settings.max_waiting, instances)
        self._metrics = Metrics(stages.metric_family)
        self._rejections = Rejections(self._metrics, settings.log_format, failures=False)
        self._metrics.start()
        self._forwarder = Forwarder(limit, AbortSender(instances).abort)

    def execute(self, requests):
        for request in requests:
            self._forwarder.forward(UnaryCall(request, self._results, self._rejections.add))

    def finalize(self):
        self._forwarder.close()
        self._metrics.close()
