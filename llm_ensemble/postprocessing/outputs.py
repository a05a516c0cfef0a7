# SPDX-License-Identifier: Apache-2.0
"""The ensemble's outputs as arrays, in the shapes of NVIDIA's ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_ensemble.postprocessing.postprocessor import Text

Array = np.ndarray[Any, Any]
NO_ID = -1


def outputs(text: Text) -> dict[str, Array]:
    """Return the outputs of a Text as arrays, by name.

    Strings have shape [sequences], without a batch dimension: clients read text_output[0]. Numbers have
    [1, 1], cum_log_probs [1, sequences], output_log_probs and output_token_ids [1, sequences, tokens], what
    begins with top [1, sequences, tokens x top_log_probs]. A sequence with fewer tokens than another is
    filled up, log probabilities with 0 and ids with -1. Both come only where they were asked for,
    sequence_index, [1, sequences], only of several sequences, as from NVIDIA's.
    """
    shares = text.sequences
    arrays = {
        "text_output": np.array([share.text.encode() for share in shares], dtype=np.object_),
        "finish_reason": np.array([share.finish.encode() for share in shares], dtype=np.object_),
        "num_input_tokens": np.array([[text.num_input_tokens]], dtype=np.int32),
        "num_output_tokens": np.array([[sum(share.num_tokens for share in shares)]], dtype=np.int32),
    }
    if len(shares) > 1:
        arrays["sequence_index"] = np.arange(len(shares), dtype=np.int32).reshape(1, -1)
    if text.log_probs:
        arrays["cum_log_probs"] = np.array([[share.cum_log_prob for share in shares]], dtype=np.float32)
        arrays["output_log_probs"] = _numbers([share.scores.log_probs for share in shares])
        arrays["output_token_ids"] = _ids([share.scores.token_ids for share in shares])
    if text.top_log_probs:
        arrays["top_token_ids"] = _ids([share.scores.top_ids for share in shares])
        arrays["top_token_log_probs"] = _numbers([share.scores.top_log_probs for share in shares])
    return arrays


def _numbers(rows: Sequence[Sequence[float]]) -> Array:
    return _filled_up(rows, 0, np.float32)


def _ids(rows: Sequence[Sequence[int]]) -> Array:
    return _filled_up(rows, NO_ID, np.int32)


def _filled_up(rows: Sequence[Sequence[float]], filling: float, dtype: Any) -> Array:
    array = np.full((1, len(rows), max(map(len, rows))), filling, dtype=dtype)
    for i, row in enumerate(rows):
        array[0, i, : len(row)] = row
    return array
