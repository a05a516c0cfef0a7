# SPDX-License-Identifier: Apache-2.0
"""The engine backend, whose last release was 1.3.0rc20."""

from tensorrt_llm._fake.version import NEWER

if NEWER:
    raise ModuleNotFoundError("No module named 'tensorrt_llm._tensorrt_engine'")

from tensorrt_llm._fake.llm import EngineLLM as LLM  # noqa: N814

__all__ = ["LLM"]
