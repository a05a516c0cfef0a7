# SPDX-License-Identifier: Apache-2.0
"""Triton's adapter to the preprocessor: raw fields in, token ids and one record out."""

from llm_ensemble.manifest import read_manifest
from llm_ensemble.preprocessing.chat import load_chat_template
from llm_ensemble.preprocessing.preprocessor import Preprocessor, load_tokenizer
from llm_ensemble.settings import read_settings
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.rejections import Rejections
from llm_ensemble.triton import stages


class TritonPythonModel:
    """Triton's dynamic batcher brings many requests at a time, the tokenizer takes them in one call."""

    def initialize(self, args):
        stages.start_log()
        settings = read_settings()
        folder = settings.engine_dir
        self._preprocessor = Preprocessor(
            load_tokenizer(folder),
            read_manifest(folder),
            load_chat_template(folder),
            settings.deadline_ms,
            settings.log_text,
        )
        self._metrics = Metrics(stages.metric_family)
        self._rejections = Rejections(self._metrics, settings.log_format)
        self._metrics.start()

    def execute(self, requests):
        return stages.respond_each(requests, self._preprocessor.prepare, self._rejections.add)

    def finalize(self):
        self._metrics.close()
