# SPDX-License-Identifier: Apache-2.0
"""The checkpoint in engine/: what vLLM reads and nothing else.

It would take whatever *.safetensors it finds, and Mistral's consolidated.safetensors before all others. So
the files are chosen here: those of the index, or all but other copies and adapters.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from build_scripts.checkpoint import Checkpoint
from build_scripts.checkpoint_weights import link_or_copy
from build_scripts.errors import BuildError
from build_scripts.remote_code import remove_remote_code
from llm_ensemble.manifest import MODELOPT

SMALL = ("config.json", "generation_config.json", MODELOPT)
INDEX = ".index.json"
KINDS = (("*.safetensors", "model.safetensors"), ("pytorch_model*.bin", "pytorch_model.bin"))  # best first
OTHERS = ("consolidated", "adapter")  # how files of the same suffix begin that are no weights of the model


def place_checkpoint(checkpoint: Checkpoint, into: Path) -> int:
    """Put the checkpoint into the new folder `into`; return the bytes of its weights.

    Weights are hard links on the same disk, else copies: nothing points out of the folder. Raise BuildError
    if weights are missing.
    """
    files, index = weight_files(checkpoint)
    into.mkdir()
    for path in files:
        link_or_copy(path.resolve(), into / path.name)  # the hub's cache holds links
    for name in (*SMALL, *([index.name] if index else [])):
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, into / name)
    remove_remote_code(into)
    return sum(path.stat().st_size for path in files)


def weight_files(checkpoint: Checkpoint) -> tuple[list[Path], Path | None]:
    """Return the files of the weights, safetensors where there are any, and their index if they have one."""
    folder = checkpoint.folder
    for pattern, name in KINDS:
        index = folder / f"{name}{INDEX}"
        found = sorted(path for path in folder.glob(pattern) if not path.name.startswith(OTHERS))
        if not found:
            continue
        if not index.is_file():
            return found, None
        listed = sorted({folder / file for file in json.loads(index.read_bytes())["weight_map"].values()})
        missing = [path.name for path in listed if not path.is_file()]
        if missing:
            raise BuildError(
                f"{checkpoint.source.name} has no {missing[0]}, which {index.name} lists: fetch the "
                "checkpoint again"
            )
        return listed, index
    raise BuildError(f"{checkpoint.source.name} has no weights: neither *.safetensors nor pytorch_model*.bin")
