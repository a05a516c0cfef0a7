# SPDX-License-Identifier: Apache-2.0
"""The exports of the real package that the sheet names."""

from tensorrt_llm._fake.errors import RequestError
from tensorrt_llm._fake.requests.completion import CompletionOutput
from tensorrt_llm._fake.requests.lora import LoRARequest

__all__ = ["CompletionOutput", "LoRARequest", "RequestError"]
