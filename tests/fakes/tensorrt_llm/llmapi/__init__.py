# SPDX-License-Identifier: Apache-2.0
"""The names of the real llmapi package that the sheet has fields for."""

from tensorrt_llm._fake.configs import (
    BatchingType,
    BuildConfig,
    CalibConfig,
    CapacitySchedulerPolicy,
    ContextChunkingPolicy,
    CudaGraphConfig,
    DraftTargetDecodingConfig,
    DynamicBatchConfig,
    ExtendedRuntimePerfKnobConfig,
    GuidedDecodingParams,
    KvCacheConfig,
    NGramDecodingConfig,
    QuantAlgo,
    QuantConfig,
    SchedulerConfig,
    TorchLlmArgs,
    TrtLlmArgs,
)
from tensorrt_llm._fake.errors import RequestError
from tensorrt_llm._fake.llm import TorchLLM as LLM  # noqa: N814
from tensorrt_llm._fake.requests.completion import CompletionOutput
from tensorrt_llm._fake.requests.results import RequestOutput
from tensorrt_llm._fake.requests.sampling_params import SamplingParams
from tensorrt_llm._fake.version import NEWER

__all__ = [
    "LLM",
    "BatchingType",
    "BuildConfig",
    "CalibConfig",
    "CapacitySchedulerPolicy",
    "CompletionOutput",
    "ContextChunkingPolicy",
    "CudaGraphConfig",
    "DraftTargetDecodingConfig",
    "DynamicBatchConfig",
    "ExtendedRuntimePerfKnobConfig",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "NGramDecodingConfig",
    "QuantAlgo",
    "QuantConfig",
    "RequestError",
    "RequestOutput",
    "SamplingParams",
    "SchedulerConfig",
    "TorchLlmArgs",
    "TrtLlmArgs",
]

if NEWER:
    from tensorrt_llm._fake.configs import DecodeCudaGraphConfig, EncodeCudaGraphConfig

    __all__ += ["DecodeCudaGraphConfig", "EncodeCudaGraphConfig"]
