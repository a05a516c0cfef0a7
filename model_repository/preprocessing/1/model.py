# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to the preprocessor: raw fields in, token ids and one record out."""

from llm_ensemble.preprocessing.preprocessor import load_preprocessor, load_tokenizer
from llm_ensemble.settings import read_settings
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.rejections import Rejections
from llm_ensemble.triton import stages


class TritonPythonModel:
    """Triton's dynamic batcher brings many requests at a time, the tokenizer takes them in one call."""

    def initialize(self, args):
        stages.start_log()
        settings = read_settings()
        self._preprocessor = load_preprocessor(settings, load_tokenizer(settings.engine_dir))
        self._metrics = Metrics(stages.metric_family)
        self._rejections = Rejections(self._metrics, settings.log_format)
        self._metrics.start()

    def execute(self, requests):
        return stages.respond_each(requests, self._preprocessor.prepare, self._rejections.add)

    def finalize(self):
        self._metrics.close()
