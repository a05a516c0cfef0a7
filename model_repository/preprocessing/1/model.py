# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to llm_ensemble.prompt: raw fields in, token ids and one record out."""

from llm_ensemble import triton
from llm_ensemble.chat import load_chat_template
from llm_ensemble.manifest import read_manifest
from llm_ensemble.metrics import Metrics
from llm_ensemble.prompt import Preprocessor, load_tokenizer
from llm_ensemble.refusals import Refusals
from llm_ensemble.settings import read_settings


class TritonPythonModel:
    """Triton's dynamic batcher brings many requests at a time, the tokenizer takes them in one call."""

    def initialize(self, args):
        triton.start_log()
        settings = read_settings()
        folder = settings.engine_dir
        self._preprocessor = Preprocessor(
            load_tokenizer(folder),
            read_manifest(folder),
            load_chat_template(folder),
            settings.deadline_ms,
            settings.log_text,
        )
        self._metrics = Metrics(triton.metric_family)
        self._refusals = Refusals(self._metrics, settings.log_format)
        self._metrics.start()

    def execute(self, requests):
        return triton.respond_each(requests, self._preprocessor.prepare, self._refusals.add)

    def finalize(self):
        self._metrics.close()
