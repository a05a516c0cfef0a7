# SPDX-License-Identifier: Apache-2.0
"""Export torch weights to OpenVINO's intermediate representation (IR).

The model is loaded once. Before it is traced it computes the reference logits, in float32, for comparison
with the finished engine. The trace is optimum-intel's: a stateful model (the KV cache is inside), which
openvino-genai turns into its paged form while it loads.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from build_scripts.checkpoint import Checkpoint
from build_scripts.remote_code import remove_remote_code

if TYPE_CHECKING:
    import torch


def export(
    checkpoint: Checkpoint, token_ids: list[int], into: Path, *, full_precision: bool
) -> npt.NDArray[np.float32]:
    """Write openvino_model.xml/.bin, config.json and generation_config.json to `into`.

    Weights have 16 bits, 32 if `full_precision`. Return the reference logits [len(token_ids), vocabulary].
    """
    no_telemetry()
    model = _load(checkpoint, full_precision)
    reference = reference_logits(model, token_ids)
    _trace(model, into)
    remove_remote_code(into)
    return reference


def no_telemetry() -> None:
    """Disable telemetry: OpenVINO's converter and nncf send reports unless this package is absent."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _load(checkpoint: Checkpoint, full_precision: bool) -> Any:
    """Load at the width that is written: a 7B model then needs 14 GB here, not 28.

    bfloat16 becomes float16, which holds its 8 significant bits exactly; weights are far from float16's
    limits. openvino.save_model(compress_to_fp16=True) later would also round the rotary frequencies, which
    makes the angles wrong after some hundred positions.
    """
    import torch
    from transformers import AutoModelForCausalLM

    # Serving's paged attention replaces scaled_dot_product_attention in the trace, so that is what must be
    # traced.
    model: Any = AutoModelForCausalLM.from_pretrained(
        checkpoint.folder,
        dtype=torch.float32 if full_precision else torch.float16,
        attn_implementation="sdpa",
        local_files_only=True,
        trust_remote_code=checkpoint.trust_remote_code,
    )
    return model.eval()


def reference_logits(model: Any, token_ids: list[int]) -> npt.NDArray[np.float32]:
    """Return float32 logits [tokens, vocabulary] of one pass through transformers' eager attention."""
    import torch

    model.set_attn_implementation("eager")
    with torch.no_grad(), contextlib.ExitStack() as stack:
        if model.dtype == torch.float16:
            stack.enter_context(_computing_in_float32(model))
        logits = model(torch.tensor([token_ids]), use_cache=False).logits[0]
    model.set_attn_implementation("sdpa")
    return logits.float().numpy()  # type: ignore[no-any-return]


@contextlib.contextmanager
def _computing_in_float32(model: Any) -> Iterator[None]:
    """Widen each layer's own weights for the time it runs, so that memory for one layer is enough."""
    narrow: dict[torch.nn.Parameter, torch.Tensor] = {}

    def widen(module: Any, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            narrow[parameter] = parameter.data
            parameter.data = parameter.data.float()

    def restore(module: Any, *_: Any) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.data = narrow.pop(parameter)

    hooks = [module.register_forward_pre_hook(widen) for module in model.modules()]
    hooks += [module.register_forward_hook(restore) for module in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _trace(model: Any, into: Path) -> None:
    import torch
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.exporters.openvino.model_configs import GemmaOpenVINOConfig
    from optimum.intel.openvino.configuration import OVConfig

    # optimum-intel 2.2 refuses Gemma above transformers 5.0; the tests show that the pinned version is served
    # exactly.
    GemmaOpenVINOConfig.MAX_TRANSFORMERS_VERSION = None
    export_from_model(
        model,
        into,
        task="text-generation-with-past",
        ov_config=OVConfig(dtype="auto"),  # write the weights as they are loaded
        stateful=True,
        preprocessors=[],  # the tokenizer has its own folder
        patch_16bit_model=model.dtype == torch.float16,
    )
