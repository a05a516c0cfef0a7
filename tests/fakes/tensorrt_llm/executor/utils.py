# SPDX-License-Identifier: Apache-2.0
"""RequestError, whose public module is tensorrt_llm.llmapi; this module has it only in 1.2."""

from tensorrt_llm._fake.version import NEWER

if NEWER:
    from tensorrt_llm._fake.errors import EngineDeadError

    __all__ = ["EngineDeadError"]
else:
    from tensorrt_llm._fake.errors import RequestError

    __all__ = ["RequestError"]
