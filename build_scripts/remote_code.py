# SPDX-License-Identifier: Apache-2.0
"""Remote code, the Python files of a checkpoint: refused unless trusted, and kept out of engine directories.

A checkpoint's auto_map names its classes; transformers imports them only if it may trust them. Otherwise it
uses its own class for a model type that it knows, and the engine could silently differ from its model. So a
build checks auto_map first. JSON is read, nothing is imported.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from build_scripts.errors import BuildError
from build_scripts.fetch import Source

LOADED = {"config.json": ("AutoConfig", "AutoModelForCausalLM"), "tokenizer_config.json": ("AutoTokenizer",)}


def refuse_remote_code(source: Source) -> None:
    """Raise BuildError if building the checkpoint would run its remote code."""
    classes = [name for file, loaded in LOADED.items() for name in _mapped(source.folder / file, loaded)]
    if classes:
        raise BuildError(
            f"{source.name} needs its own code ({', '.join(classes)}): Python files that would run "
            "with your rights on this machine; read them first, then allow them with --trust-remote-code "
            "(make build ... TRUST_REMOTE_CODE=1)"
        )


def refuse_unservable_code(source: Source, others: Collection[str]) -> None:
    """Raise BuildError if config.json can be read by the checkpoint's remote code alone, trusted or not.

    For an engine that reads config.json when it is served, where no remote code runs. others: model types
    that it knows beside those of transformers.
    """
    path = source.folder / "config.json"
    model_type = _read(path).get("model_type")
    if "AutoConfig" not in _mapped(path, LOADED["config.json"]) or model_type in others:
        return
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise BuildError(
            f"{source.name} has model type {model_type}, whose configuration only its own code can read, and "
            "serving runs none: it cannot be served"
        )


def remove_remote_code(folder: Path) -> None:
    """Remove the code that save_pretrained copied to `folder`: serving runs none."""
    for path in folder.glob("*.py"):
        path.unlink()
    for path in (folder / file for file in LOADED):
        content = _read(path)
        if content.pop("auto_map", None) is not None:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _mapped(path: Path, loaded: tuple[str, ...]) -> list[str]:
    """Return those of the classes to load that auto_map in `path` takes from the checkpoint."""
    mapped = _read(path).get("auto_map")
    if isinstance(mapped, dict):
        return [name for name in loaded if mapped.get(name)]
    return list(loaded) if mapped else []  # old tokenizers have just the pair of classes


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise BuildError(f"{path} cannot be read ({error}): fetch the checkpoint again") from error
    return content if isinstance(content, dict) else {}
