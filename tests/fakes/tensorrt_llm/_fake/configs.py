# SPDX-License-Identifier: Apache-2.0
"""The configuration classes. Pydantic models in 1.2.1, but for QuantConfig and GuidedDecodingParams."""

from pathlib import Path
from typing import Union

from tensorrt_llm._fake.facts import FACTS, Record, make_class, make_enum
from tensorrt_llm._fake.version import NEWER

CapacitySchedulerPolicy = make_enum("CapacitySchedulerPolicy")
ContextChunkingPolicy = make_enum("ContextChunkingPolicy")
BatchingType = make_enum("BatchingType")
QuantAlgo = make_enum("QuantAlgo")
KvCacheConfig = make_class("KvCacheConfig")
DynamicBatchConfig = make_class("DynamicBatchConfig")
SchedulerConfig = make_class("SchedulerConfig")
LoraConfig = make_class("LoraConfig")
BuildConfig = make_class("BuildConfig")
QuantConfig = make_class("QuantConfig", Record)
CalibConfig = make_class("CalibConfig")
if NEWER:  # trap: the old name is a union, which cannot be called
    DecodeCudaGraphConfig = make_class("DecodeCudaGraphConfig")
    EncodeCudaGraphConfig = make_class("EncodeCudaGraphConfig")
    CudaGraphConfig = Union[DecodeCudaGraphConfig, EncodeCudaGraphConfig]  # noqa: UP007
else:
    CudaGraphConfig = make_class("CudaGraphConfig")
DraftTargetDecodingConfig = make_class("DraftTargetDecodingConfig")
NGramDecodingConfig = make_class("NGramDecodingConfig")
ExtendedRuntimePerfKnobConfig = make_class("ExtendedRuntimePerfKnobConfig")
PeftCacheConfig = make_class("PeftCacheConfig")


class _OneGuide(Record):
    __slots__ = ()

    def _finish(self):
        if sum(bool(value) for value in self._values().values()) > 1:
            raise ValueError("GuidedDecodingParams takes at most one guide")


GuidedDecodingParams = make_class("GuidedDecodingParams", _OneGuide)

DRAFT_FOLDER = "speculative_model" if NEWER else "speculative_model_dir"
BASE = FACTS["classes"]["BaseLlmArgs"]


class _EngineArgs(make_class("TrtLlmArgs(BaseLlmArgs)", more_facts=BASE)):
    """Order trap of 1.2.1: limits are completed from a default BuildConfig, before the engine is read."""

    __slots__ = ()

    def _finish(self):
        if self.kv_cache_config.dtype != "auto":
            raise ValueError("kv_cache_config.dtype must be 'auto' for the engine backend")
        if self.guided_decoding_backend == "llguidance":
            raise ValueError("the engine backend guides with xgrammar only")
        self.max_input_len = self.max_input_len or BuildConfig().max_input_len
        self.max_beam_width = self.max_beam_width or BuildConfig().max_beam_width
        self.max_num_tokens = self.max_num_tokens or BuildConfig().max_num_tokens
        self.batching_type = self.batching_type or BatchingType.INFLIGHT
        self.calib_config = self.calib_config or CalibConfig()
        self.quant_config = self.quant_config or QuantConfig()


class _TorchArgs(make_class("TorchLlmArgs(BaseLlmArgs)", more_facts=BASE)):
    __slots__ = ()

    def _finish(self):
        self.max_input_len = self.max_input_len or BuildConfig().max_input_len
        self.max_batch_size = self.max_batch_size or BuildConfig().max_batch_size
        self.max_beam_width = self.max_beam_width or BuildConfig().max_beam_width
        if self.speculative_config is not None:
            self._check_speculative(self.speculative_config)

    def _check_speculative(self, config):
        """Refuse what the real one would fail of, sooner or later; then the fake ignores it."""
        if not config.max_draft_len:
            raise ValueError("max_draft_len must be > 0")
        if not self.disable_overlap_scheduler:
            raise ValueError("two-model and n-gram drafting need disable_overlap_scheduler=True")
        if isinstance(config, NGramDecodingConfig):
            if not config.max_matching_ngram_size:
                raise ValueError("max_matching_ngram_size must be > 0 for NGram")
        elif not Path(getattr(config, DRAFT_FOLDER) or "", "config.json").exists():
            raise ValueError(f"{DRAFT_FOLDER} must be a checkpoint's folder")


TrtLlmArgs, TorchLlmArgs = _EngineArgs, _TorchArgs
TrtLlmArgs.__name__, TorchLlmArgs.__name__ = "TrtLlmArgs", "TorchLlmArgs"
