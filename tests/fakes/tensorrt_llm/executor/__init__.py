# SPDX-License-Identifier: Apache-2.0
"""What the real package exports here and the sheet names."""

from tensorrt_llm._fake.completion import CompletionOutput
from tensorrt_llm.executor.utils import RequestError

__all__ = ["CompletionOutput", "RequestError"]
