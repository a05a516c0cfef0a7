# SPDX-License-Identifier: Apache-2.0
"""A built engine as a function from token ids to logits (teacher forcing), on the IR that is served.

Runs openvino's own compiled model, one sequence at a time, without the paged attention and the batching of
openvino-genai. Computes in float32 with a float32 KV cache (OpenVINO's default on CPUs with bfloat16
units is bfloat16, with an 8-bit KV cache), so that results depend on the stored weights and not on the
machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino

from build_scripts.openvino.compress import IR

EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # else activations are rounded to 8 bits before compressed layers
}


class CausalModel:
    """The stateful IR of an engine directory; `reset()` begins a text, `logits()` continues it."""

    def __init__(self, engine_folder: Path) -> None:
        model = openvino.Core().read_model(engine_folder / IR)
        self._inputs = {name for tensor in model.inputs for name in tensor.names}
        self._request = openvino.Core().compile_model(model, "CPU", EXACT).create_infer_request()
        self._past = 0

    def reset(self) -> None:
        """Forget the text so far."""
        self._request.reset_state()
        self._past = 0

    def logits(self, token_ids: list[int]) -> npt.NDArray[np.float32]:
        """Append token ids to the text; return next-token logits [len(token_ids), vocabulary]."""
        end = self._past + len(token_ids)
        feeds = {
            "input_ids": np.array([token_ids], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(self._past, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._past = end
        self._request.infer({name: value for name, value in feeds.items() if name in self._inputs})
        return np.array(self._request.get_tensor("logits").data[0])  # a copy: the tensor is reused
