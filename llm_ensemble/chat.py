# SPDX-License-Identifier: Apache-2.0
"""The model's chat template: from a conversation to the prompt that the model was trained to read.

What it renders equals transformers' apply_chat_template(tokenize=False, add_generation_prompt=True), without
transformers. The special tokens are in the text already, so whoever tokenizes it adds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from jinja2.exceptions import UndefinedError

from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.manifest import TOKENIZER
from llm_ensemble.messages import parse_messages
from llm_ensemble.sandbox import Refused, Sandbox

# A prompt may be this long: a template that runs away is stopped, one that repeats what it got is not.
SPARE_CHARACTERS = 1_000_000
TIMES_THE_MESSAGES = 10
SHOWN = 500  # characters of a template's own words that go to the client


class ChatTemplate:
    """A compiled chat template with its model's special tokens; may render in several threads at once."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """source: Jinja; special_tokens: by their names, such as bos_token. Raises what Jinja raises."""
        self._template = Sandbox().from_string(source)
        self._variables = {**special_tokens, "tools": None, "documents": None, "add_generation_prompt": True}

    def render(self, messages: str) -> str:
        """Return the prompt that asks for the next answer in `messages`, a JSON array.

        Raises RequestError when the array is not a conversation or the template cannot take it, EngineError
        when the template does what no template may, or fails in a way that has nothing to do with the caller.
        """
        conversation = parse_messages(messages)
        longest = SPARE_CHARACTERS + TIMES_THE_MESSAGES * len(messages)
        try:
            return self._generate(conversation, longest)
        except Refused as refusal:
            raise RequestError(
                "messages", f"the model's chat template refuses them: {_line(refusal)}"
            ) from None
        except UndefinedError as error:  # such as the second message of a conversation that has one
            raise RequestError(
                "messages", f"the model's chat template needs what they lack: {_line(error)}"
            ) from error
        except EngineError:
            raise
        except Exception as error:  # a stranger's program: it may raise anything
            raise EngineError(f"the chat template failed: {type(error).__name__}: {_line(error)}") from error

    def _generate(self, conversation: list[dict[str, str]], longest: int) -> str:
        pieces, length = [], 0
        for piece in self._template.generate(messages=conversation, **self._variables):
            length += len(piece)
            if length > longest:
                raise EngineError(f"the chat template was stopped after {longest} characters")
            pieces.append(piece)
        return "".join(pieces)


def load_chat_template(engine_dir: Path) -> ChatTemplate | None:
    """Load the template that an engine directory's tokenizer/ holds; None where the model has none.

    Of several named ones it is the one called "default". Raises EngineDirectoryError when it cannot be read
    or is not valid Jinja.
    """
    folder = engine_dir / TOKENIZER
    config = _read_json(folder / "tokenizer_config.json")
    source = _find_source(folder, config)
    if source is None:
        return None
    tokens = _special_tokens(config)
    if "added_tokens_decoder" not in config:  # else transformers takes the map for an old leftover, too
        tokens |= _special_tokens(_read_json(folder / "special_tokens_map.json"))
    try:
        return ChatTemplate(source, tokens)
    except Exception as error:  # Jinja's own errors, and Python's for what Jinja compiled
        raise _broken(folder, f"the chat template is not valid: {_line(error)}") from error


def _find_source(folder: Path, config: dict[str, Any]) -> str | None:
    """Files first, tokenizer_config.json only where there are none: transformers' order."""
    named = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    files = [path for path in named if path.stem == "default"]
    files += [path for path in [folder / "chat_template.jinja"] if path.exists()]
    if files:
        return _read_text(files[0])
    return None if named else _configured(folder, config.get("chat_template"))


def _configured(folder: Path, template: Any) -> str | None:
    """The template in tokenizer_config.json: a string, or a list of {"name", "template"}."""
    if isinstance(template, list):
        by_name = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = by_name.get("default")
    if template is None or isinstance(template, str):
        return template
    raise _broken(folder, "chat_template in tokenizer_config.json is neither a text nor a list of named ones")


def _special_tokens(declared: dict[str, Any]) -> dict[str, str]:
    """Tokens by name: every *_token, and those a model calls otherwise; each a string or {"content": ...}."""
    named = {name: token for name, token in declared.items() if name.endswith("_token")}
    extra = declared.get("extra_special_tokens")
    if isinstance(extra, dict):
        named |= extra
    contents = {name: t.get("content") if isinstance(t, dict) else t for name, t in named.items()}
    return {name: content for name, content in contents.items() if isinstance(content, str)}


def _read_json(path: Path) -> dict[str, Any]:
    """An absent file declares nothing."""
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(_read_text(path), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _broken(path, str(error)) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path, str(error)) from error


def _broken(path: Path, problem: str) -> EngineDirectoryError:
    return EngineDirectoryError(f"{path} cannot be used ({problem}): repair it or build the engine again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:SHOWN]
