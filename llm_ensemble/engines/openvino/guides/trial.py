# SPDX-License-Identifier: Apache-2.0
"""The process that tries grammars (engines/guide_trials.py) with OpenVINO GenAI."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.engines.guide_trials import answer, too_slow

MEMORY = 6 << 30  # bytes of address space, most of it OpenVINO's and never touched
TOKENS = 64  # are chosen by the grammar in a trial
MAX_TOKEN_SECONDS = 0.02  # of one sequence's choice, on average
_ID = ov.Tensor(np.array([[0]], dtype=np.int64))


class Compiler:
    """Compiles grammars by a pipeline that finds every token equally probable.

    folder: made by write_vocabulary. tokenizer: that of another pipeline, which then has it compiled.
    """

    def __init__(self, folder: Path, tokenizer: genai.Tokenizer) -> None:
        self._pipeline = genai.LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA")

    def generate(self, grammar: str, end_id: int, tokens: int) -> list[int]:
        """Return some tokens by a grammar, in a time without the GIL. Raises RuntimeError for a wrong one."""
        config = genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.temperature = tokens, True, 1.0
        config.rng_seed = 0
        config.set_eos_token_id(end_id)
        config.structured_output_config = genai.StructuredOutputConfig(grammar=grammar)
        return list(self._pipeline.generate(_ID, config).tokens[0])


def main(folder: Path) -> None:
    """Answer until standard input ends."""
    answer(functools.partial(_problem, Compiler(folder, genai.Tokenizer(folder))), MEMORY)


def _problem(compiler: Compiler, grammar: str, end_id: int) -> str:
    try:
        compiler.generate(grammar, end_id, 1)
        began = time.monotonic()
        chosen = len(compiler.generate(grammar, end_id, TOKENS))
        seconds = (time.monotonic() - began) / max(1, chosen)
    except (RuntimeError, MemoryError) as error:
        return f"the engine cannot compile it ({str(error).rsplit(': ', 1)[-1].strip():.200})"
    return too_slow(seconds, MAX_TOKEN_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
