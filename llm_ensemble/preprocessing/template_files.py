# SPDX-License-Identifier: Apache-2.0
"""A tokenizer's files that have chat templates and special tokens, as transformers reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from llm_ensemble.errors import EngineDirectoryError


def read_template_files(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the sources of chat templates by name, and the special tokens by name.

    The one template of a model without named ones is "default". Raise EngineDirectoryError.
    """
    config = _read_json(folder / "tokenizer_config.json")
    sources = _find_sources(folder, config)
    tokens = _special_tokens(config)
    if "added_tokens_decoder" not in config:  # else transformers takes the map for an old leftover, too
        tokens |= _special_tokens(_read_json(folder / "special_tokens_map.json"))
    return sources, tokens


def _find_sources(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Return the templates' sources: of files, else of tokenizer_config.json, in transformers' order."""
    named = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    plain = folder / "chat_template.jinja"
    paths = {"default": plain, **named} if plain.exists() else named
    if paths:
        return {name: _read_text(path) for name, path in paths.items()}
    return _configured(folder, config.get("chat_template"))


def _configured(folder: Path, template: Any) -> dict[str, str]:
    """Return the templates in tokenizer_config.json: a string, or a list of {"name", "template"}."""
    if isinstance(template, list):
        by_name = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
    else:
        by_name = {"default": template}
    found = {name: source for name, source in by_name.items() if name and source is not None}
    if all(isinstance(source, str) for source in found.values()):
        return found
    raise broken(folder, "chat_template in tokenizer_config.json is neither a text nor a list of named ones")


def _special_tokens(declared: dict[str, Any]) -> dict[str, str]:
    """Return special tokens by name: every *_token, and a model's own; a string or {"content": ...} each."""
    named = {name: token for name, token in declared.items() if name.endswith("_token")}
    extra = declared.get("extra_special_tokens")
    if isinstance(extra, dict):
        named |= extra
    contents = {name: t.get("content") if isinstance(t, dict) else t for name, t in named.items()}
    return {name: content for name, content in contents.items() if isinstance(content, str)}


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; empty if there is no file."""
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(_read_text(path), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise broken(path, str(error)) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise broken(path, str(error)) from error


def broken(path: Path, problem: str) -> EngineDirectoryError:
    """Return the error of a file that cannot be used."""
    return EngineDirectoryError(f"{path} cannot be used ({problem}): repair it or build the engine again")
