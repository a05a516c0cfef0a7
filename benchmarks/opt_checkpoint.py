# SPDX-License-Identifier: Apache-2.0
"""Make a checkpoint of OPT-125m's shape with random weights: as fast as the real one, and made on the spot.

    .venv-build/bin/python benchmarks/opt_checkpoint.py build/opt-125m-random

For the build environment. Its tokenizer is the demo model's, so a vocabulary of 50,272 has ids that are no
text: those of the tokenizer get an output embedding that others cannot beat, and what is made is text.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import OPTConfig, OPTForCausalLM

DEMO = Path(__file__).resolve().parent.parent / "models/demo"
TOKENIZER_IDS = 4096
CONFIG = OPTConfig(
    vocab_size=50272,
    hidden_size=768,
    word_embed_proj_dim=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    ffn_dim=3072,
    max_position_embeddings=2048,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=1,
)


def main() -> None:
    """Write the checkpoint."""
    parser = argparse.ArgumentParser(description="Make a random checkpoint of OPT-125m's shape.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(0)
    model = OPTForCausalLM(CONFIG)
    embeddings = model.get_input_embeddings().weight.data
    embeddings[TOKENIZER_IDS:] *= 0.01  # tied: their logits stay near 0, and the best of 4,096 others wins
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)


if __name__ == "__main__":
    main()
