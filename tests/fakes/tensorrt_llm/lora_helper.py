# SPDX-License-Identifier: Apache-2.0
"""Where 1.2 has LoraConfig."""

from tensorrt_llm._fake.configs import LoraConfig

__all__ = ["LoraConfig"]
