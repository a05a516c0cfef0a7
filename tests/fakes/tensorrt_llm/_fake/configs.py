# SPDX-License-Identifier: Apache-2.0
"""The configuration classes. Pydantic models in 1.2.1, but for QuantConfig and GuidedDecodingParams."""

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
ExtendedRuntimePerfKnobConfig = make_class("ExtendedRuntimePerfKnobConfig")
PeftCacheConfig = make_class("PeftCacheConfig")


class _OneGuide(Record):
    __slots__ = ()

    def _finish(self):
        if sum(bool(value) for value in self._values().values()) > 1:
            raise ValueError("GuidedDecodingParams takes at most one guide")


GuidedDecodingParams = make_class("GuidedDecodingParams", _OneGuide)

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


TrtLlmArgs, TorchLlmArgs = _EngineArgs, _TorchArgs
TrtLlmArgs.__name__, TorchLlmArgs.__name__ = "TrtLlmArgs", "TorchLlmArgs"
