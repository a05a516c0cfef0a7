# SPDX-License-Identifier: Apache-2.0
"""Speculative decoding with OpenVINO GenAI: loading a draft, which requests enter, what is accepted.

The code relies on these facts, observed with openvino-genai 2026.4.1:
- greedy tokens are the same as without, also while others are cancelled;
- of a draft's random samples the pipeline accepts by a formula of its own, which changes what is generated.
  A request with max_ngram_size is not treated so, even with a draft: a token is accepted if the model itself
  draws it, from the generator of the request's seed, so tokens are those without speculative decoding;
- with a draft, a prompt that is split over steps gets wrong tokens, if others run: 14 of 32 requests;
- min_new_tokens counts the prompt's tokens too, once a proposed token was rejected: 39 of 48 texts were
  shorter or other than asked;
- num_return_sequences > 1 and beam searches are refused by the pipeline;
- a prompt lookup that finds nothing is filled up with padding, which is computed like proposed tokens;
- before it loads a draft the pipeline encodes a text with both tokenizers and compares the numbers of
  tokens, and the ids that config.json names.
"""

from __future__ import annotations

import collections
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino import opset15

from llm_ensemble.engines.draft import DRAFT_TOKENS, NGRAM, DraftSettings, DraftTokens
from llm_ensemble.engines.openvino.prefill import PrefillTracker
from llm_ensemble.engines.scheduler import ActiveRequest
from llm_ensemble.manifest import ENGINE, Limits


def assist(config: genai.GenerationConfig) -> None:
    """Let tokens be proposed for a request, whichever way they are."""
    config.num_assistant_tokens = DRAFT_TOKENS
    config.max_ngram_size = NGRAM


@contextlib.contextmanager
def draft_folder(draft_dir: Path) -> Iterator[tuple[genai.Tokenizer, Path]]:
    """Provide the draft's folder with a tokenizer, and the same tokenizer for the model.

    The pipeline is given ids alone, so this tokenizer makes one token of any text. That the real ones are the
    same was checked before (engines/draft.py).
    """
    with tempfile.TemporaryDirectory(prefix="llm-ensemble-draft-") as name:
        folder = Path(name)
        for path in (draft_dir / ENGINE).iterdir():
            (folder / path.name).symlink_to(path.resolve())
        ov.save_model(_one_token_tokenizer(), folder / "openvino_tokenizer.xml")
        yield genai.Tokenizer(folder), folder


def _one_token_tokenizer() -> ov.Model:
    text = opset15.parameter([-1], ov.Type.string, name="text")
    shape = opset15.concat([opset15.shape_of(text), opset15.constant([1], dtype=np.int64)], 0)
    results = []
    for name, value in (("input_ids", 0), ("attention_mask", 1)):
        same = opset15.broadcast(opset15.constant(value, dtype=np.int64), shape)
        same.output(0).set_names({name})
        results.append(opset15.result(same))
    return ov.Model(results, [text], "tokenizer")


class WholePrompts:
    """Lets requests into a pipeline that decodes speculatively, in their order; in place of PrefixGate.

    With a draft, prompts that enter before a step are computed whole in it, so they are those that the limit
    of a step's tokens allows, or a single one. Requests have room in the KV cache until their end, since one
    that is computed again would not be computed alike by both models.

    blocks: of the KV cache, of `block` tokens each.
    """

    def __init__(self, limits: Limits, blocks: int, block: int, settings: DraftSettings) -> None:
        self._tokens_per_step = limits.max_num_tokens if settings.draft_engine_dir else None
        self._free = blocks
        self._block = block
        self._waiting: collections.deque[ActiveRequest] = collections.deque()
        self._inside: dict[ActiveRequest, int] = {}  # the blocks of each

    def put(self, active: ActiveRequest) -> None:
        """Let a request wait for enter()."""
        self._waiting.append(active)

    def enter(self) -> Iterator[ActiveRequest]:
        """Yield the requests that are to be added to the pipeline before its next step."""
        tokens = 0
        while self._waiting:
            request = self._waiting[0].request
            tokens += len(request.input_ids)
            is_first = tokens == len(request.input_ids)
            if self._tokens_per_step and tokens > self._tokens_per_step and not is_first:
                return
            longest = len(request.input_ids) + request.sampling.max_tokens
            if (needed := sequence_blocks(longest, self._block)) > self._free and self._inside:
                return
            active = self._waiting.popleft()
            self._inside[active] = needed
            self._free -= needed
            yield active

    def step(self, prefill: PrefillTracker, sequences: int) -> None:
        """Count nothing: every prompt is complete after its first step."""

    def remove(self, active: ActiveRequest) -> None:
        """Forget a request that has ended; no-op if it is unknown."""
        if active in self._inside:
            self._free += self._inside.pop(active)
        else:
            with contextlib.suppress(ValueError):
                self._waiting.remove(active)


def sequence_blocks(tokens: int, block: int) -> int:
    """Return the blocks that a sequence takes at most, its proposed tokens included, and one for a copy."""
    return -(-(tokens + DRAFT_TOKENS) // block) + 1


class Acceptance:
    """Counts the proposed and the accepted tokens, from how many ids each step delivers.

    The pipeline has such figures, but not for Python. The first delivery is the prefill's.
    """

    def __init__(self, tokens: DraftTokens, settings: DraftSettings) -> None:
        self._tokens = tokens
        self._is_padded = settings.prompt_lookup
        self._left: dict[ActiveRequest, int] = {}  # tokens until max_tokens, of those that have generated

    def count(self, active: ActiveRequest, ids: int) -> None:
        """Count what a step delivered for a request."""
        left = self._left.get(active)
        if left is None:
            self._left[active] = active.request.sampling.max_tokens - ids
            return
        self._left[active] = left - ids
        proposed = DRAFT_TOKENS if self._is_padded else min(DRAFT_TOKENS, left - 1)
        self._tokens.count(proposed, ids - 1)

    def remove(self, active: ActiveRequest) -> None:
        """Forget a request that has ended; no-op if it is unknown."""
        self._left.pop(active, None)
