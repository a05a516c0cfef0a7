# SPDX-License-Identifier: Apache-2.0
"""Make checkpoints for benchmarks/speculation.py: the demo model at the price of a large one, and a stranger.

    .venv-build/bin/python benchmarks/deep_checkpoint.py build/speculation

`deep` computes what the demo model does: it has 20 more layers that add nothing, and inner layers filled up
with neurons that never fire, 107 million parameters in all. So the demo model is a draft whose every token is
right. Their weights are random, since equal ones would be stored, and cached, once. `stranger` is
the demo model's shape with random weights: a draft that is hardly ever right.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import OPTForCausalLM

DEMO = Path(__file__).resolve().parent.parent / "models/demo"
LAYERS = 24
INNER = 8192  # neurons of a layer's feed-forward part


def deep() -> OPTForCausalLM:
    """Return the demo model, made expensive."""
    demo = OPTForCausalLM.from_pretrained(DEMO, dtype=torch.float32)
    config = demo.config
    config.num_hidden_layers, config.ffn_dim = LAYERS, INNER
    model = OPTForCausalLM(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in state.items():
        if "layers." in name:
            _silence(name, value)
    for name, value in demo.state_dict().items():
        state[name][tuple(slice(size) for size in value.shape)] = value
    model.load_state_dict(state)
    return model


def _silence(name: str, value: torch.Tensor) -> None:
    """Let a layer's parameter add nothing: no neuron fires, attention finds nothing."""
    if name.endswith("fc1.bias"):
        value.fill_(-1000.0)
    elif "v_proj" in name or name.endswith("bias"):
        value.zero_()


def stranger() -> OPTForCausalLM:
    """Return a model of the demo model's shape with random weights."""
    torch.manual_seed(1)
    return OPTForCausalLM(OPTForCausalLM.from_pretrained(DEMO).config)


def main() -> None:
    """Write the checkpoints."""
    parser = argparse.ArgumentParser(description="Make checkpoints for benchmarks/speculation.py.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, make in (("deep", deep), ("stranger", stranger)):
        make().half().save_pretrained(folder / name)
        for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            shutil.copy(DEMO / file, folder / name)


if __name__ == "__main__":
    main()
