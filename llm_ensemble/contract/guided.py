# SPDX-License-Identifier: Apache-2.0
"""What goes with a guide in one request, and what does not."""

from __future__ import annotations

from collections.abc import Collection

from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import RequestError


def check_guided(sampling: Sampling, special_ids: Collection[int]) -> None:
    """Raise RequestError for a guide that is wrong, and for what cannot go with any.

    special_ids: the tokens that are no text.
    """
    if sampling.guide is None:
        return
    if sampling.min_tokens:
        raise RequestError(
            "min_tokens",
            "a guide says itself when the text ends; leave it out, or send minLength or the like",
        )
    if not sampling.end_ids:
        raise RequestError(
            "ignore_eos", "a guided text ends with an end token; leave out ignore_eos and end_id -1"
        )
    for end_id in sampling.end_ids:
        if end_id not in special_ids:
            raise RequestError(
                "end_id",
                f"got {end_id}, which is text; with a guide it must be a special token of the tokenizer",
            )
    grammar_of(sampling.guide)
