# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to the engine: token ids in, chunks of token ids out, as they come."""

from llm_ensemble import triton
from llm_ensemble.aborts import receive_aborts
from llm_ensemble.engine_report import report_engine
from llm_ensemble.engine_step import EngineStep
from llm_ensemble.engines.base import load_engine
from llm_ensemble.manifest import read_manifest
from llm_ensemble.metrics import Metrics
from llm_ensemble.refusals import Refusals
from llm_ensemble.settings import read_settings


class TritonPythonModel:
    """execute starts requests and returns; the engine's own thread sends the chunks."""

    def initialize(self, args):
        triton.start_log()
        settings = read_settings()
        instance = triton.instance_number(args)
        manifest = read_manifest(settings.engine_dir)
        engine = load_engine(manifest, settings, instance)
        self._metrics = Metrics(triton.metric_family)
        report = report_engine(self._metrics, engine, manifest, settings, instance)
        self._refusals = Refusals(self._metrics, settings.log_format)
        self._metrics.start()
        self._step = EngineStep(engine, instance, triton.give_up, report)
        self._aborts = receive_aborts(instance, self._step.abort)

    def execute(self, requests):
        for request in requests:
            try:
                asked = triton.read_engine_request(request)
                identity = triton.stream_identity(request)
                self._step.generate(*asked, triton.chunk_sender(request), **identity)
            except Exception as error:
                triton.end(request, triton.error_response(request, error, self._refusals.add))

    def finalize(self):
        self._step.close()
        self._metrics.close()
