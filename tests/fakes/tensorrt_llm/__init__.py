# SPDX-License-Identifier: Apache-2.0
"""A strict fake of TensorRT-LLM 1.2.1 or newer (see ../README.md): what its fact sheet names."""

from tensorrt_llm._fake.llm import TorchLLM as LLM  # noqa: N814
from tensorrt_llm._fake.requests.sampling_params import SamplingParams
from tensorrt_llm._fake.version import VERSION

__version__ = VERSION

__all__ = ["LLM", "SamplingParams", "__version__"]
