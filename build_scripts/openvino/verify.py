# SPDX-License-Identifier: Apache-2.0
"""Compare the logits of the engine with those of its checkpoint (stage "verify")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_scripts.errors import BuildError

# Largest root-mean-square distance of the logits from transformers' in float32, in units of their own spread;
# an unrelated model is 1.4 away. Seen: at fp16 1e-6 (Gemma 2, without its soft cap, 0.003), at int8 0.007
# for the demo model to 0.03 for random weights, at int4 0.07 to 0.4.
TOLERANCE = {"fp32": 0.02, "fp16": 0.02, "int8": 0.15, "int4": 0.8}


def verify(
    engine_folder: Path, precision: str, token_ids: list[int], reference: npt.NDArray[np.float32]
) -> float:
    """Compare the engine's logits with `reference` [tokens, vocabulary]; return the distance.

    The text is fed in two pieces, so that the KV cache is tested too. Raise BuildError if they differ too
    much.
    """
    from build_scripts.openvino.openvino_model import CausalModel

    model = CausalModel(engine_folder)
    half = len(token_ids) // 2
    logits = np.concatenate([model.logits(token_ids[:half]), model.logits(token_ids[half:])])
    distance = logits_distance(logits, reference)
    if not distance <= TOLERANCE[precision]:  # NaN fails too
        raise BuildError(
            f"the engine does not say what its checkpoint says: logits are {distance:.3f} of their spread "
            f"off, {TOLERANCE[precision]} is allowed at {precision}: " + _advice(precision)
        )
    return distance


def logits_distance(logits: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> float:
    """Return the root-mean-square difference over the reference's spread, each row less its mean."""
    ours, theirs = (a - a.mean(axis=-1, keepdims=True) for a in (logits, reference))
    return float(np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)))


def _advice(precision: str) -> str:
    higher = {"int4": "use PRECISION=int8", "int8": "use PRECISION=fp16"}
    return higher.get(
        precision, "this model cannot be served by these versions of OpenVINO and optimum-intel"
    )
