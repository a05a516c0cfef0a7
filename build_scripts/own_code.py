# SPDX-License-Identifier: Apache-2.0
"""Python code that a checkpoint brings along: whether it would be run, and how none gets into an engine.

A checkpoint's auto_map names its classes; transformers imports them only when told to trust them. Untold, it
takes a model class of its own where the model's type is one it knows, and the engine might then differ from
its model with nobody noticing. So a build looks here first. Reads JSON, imports nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from build_scripts.build_error import BuildError
from build_scripts.fetch import Source

LOADED = {"config.json": ("AutoConfig", "AutoModelForCausalLM"), "tokenizer_config.json": ("AutoTokenizer",)}


def refuse_own_code(source: Source) -> None:
    """Raise BuildError when building the checkpoint would mean to run its own code."""
    classes = [name for file, loaded in LOADED.items() for name in _mapped(source.folder / file, loaded)]
    if classes:
        raise BuildError(
            f"{source.name} needs its own code ({', '.join(classes)}): Python of whoever published it, run "
            "with your rights on this machine; read it first, then allow it with --trust-remote-code (make "
            "build ... TRUST_REMOTE_CODE=1)"
        )


def remove_own_code(folder: Path) -> None:
    """Take out the code that save_pretrained copied to `folder`: it did its work, and serving runs none."""
    for path in folder.glob("*.py"):
        path.unlink()
    for path in (folder / file for file in LOADED):
        content = _read(path)
        if content.pop("auto_map", None) is not None:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _mapped(path: Path, loaded: tuple[str, ...]) -> list[str]:
    """Of the classes transformers would load, those that `path` says are the checkpoint's own."""
    mapped = _read(path).get("auto_map")
    if isinstance(mapped, dict):
        return [name for name in loaded if mapped.get(name)]
    return list(loaded) if mapped else []  # in old tokenizers the bare pair of classes


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise BuildError(f"{path} cannot be read ({error}): fetch the checkpoint again") from error
    return content if isinstance(content, dict) else {}
