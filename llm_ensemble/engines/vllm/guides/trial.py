# SPDX-License-Identifier: Apache-2.0
"""The process that tries grammars (engines/guide_trials.py) with the xgrammar that vLLM has, and no GPU.

vLLM 0.23.0 and 0.27.1 compile a grammar in threads beside the steps, without a limit, and find the tokens
that it allows within the step, for one request after the other.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llm_ensemble.contract.token_bytes import TokenBytes
from llm_ensemble.engines.guide_trials import answer, too_slow

MEMORY = 32 << 30  # bytes of address space, most of it torch's and never touched
TOKENS = 64  # are chosen by the grammar in a trial
MAX_TOKEN_SECONDS = 0.005  # of one sequence's choice, on average


class Trial:
    """The compiler with a tokenizer's tokens. A special token, which has no bytes, is never allowed."""

    def __init__(self, tokenizer_json: Path) -> None:
        self._tokens = TokenBytes(Tokenizer.from_file(str(tokenizer_json))).vocabulary()
        self._compilers: dict[int, Any] = {}

    def problem(self, grammar: str, end_id: int) -> str:
        """Return what is wrong with a grammar, "" if nothing is."""
        try:
            compiled = self._compiler(end_id).compile_grammar(grammar)
            return too_slow(self._seconds_a_token(compiled), MAX_TOKEN_SECONDS)
        except (RuntimeError, MemoryError) as error:
            return f"the engine cannot compile it ({str(error).strip().splitlines()[-1]:.200})"

    def _compiler(self, end_id: int) -> Any:
        import xgrammar

        if end_id not in self._compilers:
            info = xgrammar.TokenizerInfo(
                self._tokens, xgrammar.VocabType.RAW, vocab_size=len(self._tokens), stop_token_ids=[end_id]
            )
            self._compilers = {end_id: xgrammar.GrammarCompiler(info, cache_enabled=False)}
        return self._compilers[end_id]

    def _seconds_a_token(self, compiled: Any) -> float:
        import numpy as np
        import xgrammar

        size, draw = len(self._tokens), random.Random(0)
        matcher, mask = xgrammar.GrammarMatcher(compiled), xgrammar.allocate_token_bitmask(1, size)
        seconds = chosen = 0.0
        while chosen < TOKENS and not matcher.is_terminated():
            began = time.monotonic()
            matcher.fill_next_token_bitmask(mask)
            seconds += time.monotonic() - began
            bits = np.unpackbits(mask[0].numpy().view(np.uint8), bitorder="little")[:size]
            token = draw.choice(np.flatnonzero(bits).tolist())
            began = time.monotonic()
            matcher.accept_token(token)
            seconds += time.monotonic() - began
            chosen += 1
        return seconds / max(1, chosen)


if __name__ == "__main__":
    answer(Trial(Path(sys.argv[1])).problem, MEMORY)
