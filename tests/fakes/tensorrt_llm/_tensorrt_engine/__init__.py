# SPDX-License-Identifier: Apache-2.0
"""The engine backend."""

from tensorrt_llm._fake.llm import EngineLLM as LLM  # noqa: N814

__all__ = ["LLM"]
