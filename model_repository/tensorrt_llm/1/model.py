# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to the engine: token ids in, chunks of token ids out, as they come."""

from llm_ensemble import triton
from llm_ensemble.aborts import receive_aborts
from llm_ensemble.engine_step import EngineStep
from llm_ensemble.engines.base import load_engine
from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import read_settings


class TritonPythonModel:
    """execute starts requests and returns; the engine's own thread sends the chunks."""

    def initialize(self, args):
        triton.start_log()
        settings = read_settings()
        instance = triton.instance_number(args)
        engine = load_engine(read_manifest(settings.engine_dir), settings, instance)
        self._step = EngineStep(engine, instance, triton.give_up, triton.token_counter(instance))
        self._aborts = receive_aborts(instance, self._step.abort)

    def execute(self, requests):
        for request in requests:
            try:
                asked = triton.read_engine_request(request)
                identity = triton.stream_identity(request)
                self._step.generate(*asked, triton.chunk_sender(request), **identity)
            except Exception as error:
                triton.end(request, triton.error_response(request, error))

    def finalize(self):
        self._step.close()
