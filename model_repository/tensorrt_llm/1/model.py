# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to the engine: token ids in, chunks of token ids out, as they come."""

from llm_ensemble import triton
from llm_ensemble.engine_step import EngineStep
from llm_ensemble.engines.base import load_engine
from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import read_settings


class TritonPythonModel:
    """execute starts requests and returns; the engine's own thread sends the chunks."""

    def initialize(self, args):
        triton.start_log()
        settings = read_settings()
        self._step = EngineStep(load_engine(read_manifest(settings.engine_dir), settings))

    def execute(self, requests):
        for request in requests:
            try:
                self._start(request)
            except Exception as error:
                triton.end(request, triton.error_response(request, error))

    def _start(self, request):
        asked = triton.read_engine_request(request)
        if isinstance(asked, int):
            self._step.abort(asked)
            triton.end(request)
        else:
            self._step.generate(*asked, triton.chunk_sender(request), **triton.stream_identity(request))

    def finalize(self):
        self._step.close()
