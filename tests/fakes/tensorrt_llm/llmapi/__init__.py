# SPDX-License-Identifier: Apache-2.0
"""The names of the real llmapi package that the sheet has fields for."""

from tensorrt_llm._fake.completion import CompletionOutput
from tensorrt_llm._fake.configs import (
    BatchingType,
    BuildConfig,
    CalibConfig,
    CapacitySchedulerPolicy,
    ContextChunkingPolicy,
    CudaGraphConfig,
    DynamicBatchConfig,
    ExtendedRuntimePerfKnobConfig,
    GuidedDecodingParams,
    KvCacheConfig,
    QuantAlgo,
    QuantConfig,
    SchedulerConfig,
    TorchLlmArgs,
    TrtLlmArgs,
)
from tensorrt_llm._fake.llm import TorchLLM as LLM  # noqa: N814
from tensorrt_llm._fake.results import RequestOutput
from tensorrt_llm._fake.sampling_params import SamplingParams
from tensorrt_llm.executor.utils import RequestError

__all__ = [
    "LLM",
    "BatchingType",
    "BuildConfig",
    "CalibConfig",
    "CapacitySchedulerPolicy",
    "CompletionOutput",
    "ContextChunkingPolicy",
    "CudaGraphConfig",
    "DynamicBatchConfig",
    "ExtendedRuntimePerfKnobConfig",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "QuantAlgo",
    "QuantConfig",
    "RequestError",
    "RequestOutput",
    "SamplingParams",
    "SchedulerConfig",
    "TorchLlmArgs",
    "TrtLlmArgs",
]
