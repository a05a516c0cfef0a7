# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for TensorRT-LLM 1.2.1 (see ../README.md): what its fact sheet names, nothing else."""

from tensorrt_llm._fake.llm import TorchLLM as LLM  # noqa: N814
from tensorrt_llm._fake.sampling_params import SamplingParams

__version__ = "1.2.1"
__all__ = ["LLM", "SamplingParams", "__version__"]
