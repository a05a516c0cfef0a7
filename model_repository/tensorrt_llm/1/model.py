# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to the engine: token ids in, pulses out; chunks of token ids as they come."""

from llm_ensemble.engine_stage.stage import EngineStage
from llm_ensemble.engines.kinds import load_engine, read_served
from llm_ensemble.ipc.aborts import receive_aborts
from llm_ensemble.ipc.chunks import receive_claims
from llm_ensemble.ipc.submissions import receive_submissions
from llm_ensemble.telemetry.engine_metrics import report_engine
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.rejections import Rejections
from llm_ensemble.triton import stages, streams


class TritonPythonModel:
    """execute starts requests and returns; the engine's own thread sends the chunks, beside Triton."""

    def initialize(self, args):
        stages.start_log()
        settings, manifest = read_served()
        instance = stages.instance_number(args)
        engine = load_engine(manifest, settings, instance)
        self._metrics = Metrics(stages.metric_family)
        report = report_engine(self._metrics, engine, manifest, settings, instance)
        self._rejections = Rejections(self._metrics, settings.log_format)
        self._metrics.start()
        self._stage = EngineStage(engine, instance, stages.give_up, report)
        receive_aborts(instance, self._stage.abort)
        receive_claims(instance, self._stage.claim)
        receive_submissions(instance, self._stage.submit)

    def execute(self, requests):
        for request in requests:
            try:
                read, outlet = stages.read_engine_request(request), streams.StreamOutlet(request)
                self._stage.generate(*read, outlet, label=stages.request_id(request))
            except Exception as error:
                stages.end(request, stages.error_response(request, error, self._rejections.add))

    def finalize(self):
        self._stage.close()
        self._metrics.close()
