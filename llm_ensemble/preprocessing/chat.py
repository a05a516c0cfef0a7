# SPDX-License-Identifier: Apache-2.0
"""Chat templates: a conversation as the prompt format that a model was trained on.

What it renders equals transformers' apply_chat_template(tokenize=False) of messages whose content is a
string, without transformers. The special tokens are in the text already, so tokenizing it adds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from jinja2.exceptions import UndefinedError

from llm_ensemble.contract.content import SHOWN, Message, Reads, as_read, try_parts
from llm_ensemble.contract.messages import parse_messages
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.manifest import TOKENIZER
from llm_ensemble.preprocessing.continuation import cut_at_mark, mark_final
from llm_ensemble.preprocessing.sandbox import Refused, Sandbox

# A prompt may be this long: a template that runs away is stopped, one that repeats what it got is not.
SPARE_CHARACTERS = 1_000_000
TIMES_THE_MESSAGES = 10
ALWAYS_TAKEN = ("role", "content", "name")
ROLES_TRIED = ("system", "developer", "user", "assistant", "tool")  # of any other, content is one string
NOT_READ = "which the model's chat template does not read; leave it out"
LONGEST_REASON = 500  # characters of a template's own words that go to the client


class ChatTemplate:
    """A compiled chat template with its model's special tokens; may render in several threads at once."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Compile `source`. special_tokens: by name, such as bos_token. Raise what Jinja raises."""
        self._source = source
        self._template = Sandbox().from_string(source)
        self._variables = {**special_tokens, "tools": None, "documents": None}
        self._reads: dict[str, Reads] = {}  # what the template reads of parts, by role

    def render(
        self, messages: str, add_generation_prompt: bool = True, continue_final_message: bool = False
    ) -> str:
        """Return the prompt that asks for the next answer in `messages`, a JSON array.

        continue_final_message: the prompt ends with the last message's text; then no generation prompt.
        Raises RequestError when the array is not a conversation or the template cannot take it, EngineError
        when the template does what no template may, or fails in a way that has nothing to do with the caller.
        """
        conversation = self._read(messages)
        longest = SPARE_CHARACTERS + TIMES_THE_MESSAGES * len(messages)
        if not continue_final_message:
            return self._render(conversation, longest, add_generation_prompt)
        marked, text = mark_final(conversation)
        return cut_at_mark(self._render(marked, longest, add_generation_prompt), text)

    def _read(self, messages: str) -> list[Message]:
        """Return the conversation, checked, its content as the template reads it."""
        conversation = parse_messages(messages)
        for number, message in enumerate(conversation):
            for key, value in message.items():
                if value and not self._may_read(key):
                    raise RequestError("messages", f"item {number} has the key {key[:SHOWN]!r}, {NOT_READ}")
        return [
            {**message, "content": as_read(message["content"], self._reads_of(message))}
            for message in conversation
        ]

    def _may_read(self, key: str) -> bool:
        """Return whether the template names the key, or may write whole messages; `name` is always read."""
        return key in ALWAYS_TAKEN or any(word in self._source for word in (key, "tojson", "items"))

    def _reads_of(self, message: Message) -> Reads:
        """Return what the template reads of a message's parts; tried once a role, with the first parts."""
        role = message["role"]
        if isinstance(message["content"], str) or role not in ROLES_TRIED:
            return Reads.STRINGS
        if role not in self._reads:
            self._reads[role] = try_parts(lambda trial: self._generate(trial, SPARE_CHARACTERS, True), role)
        return self._reads[role]

    def _render(self, conversation: list[Message], longest: int, add_generation_prompt: bool) -> str:
        try:
            return self._generate(conversation, longest, add_generation_prompt)
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
            reason = f"{type(error).__name__}: {_line(error)}"
            if isinstance(error, TypeError) and any(
                message.keys() - ALWAYS_TAKEN for message in conversation
            ):
                raise RequestError(  # only these keys' values may be of any type
                    "messages", f"the model's chat template fails on a key of theirs: {reason}"
                ) from error
            raise EngineError(f"the chat template failed: {reason}") from error

    def _generate(self, conversation: list[Message], longest: int, add_generation_prompt: bool) -> str:
        pieces, length = [], 0
        variables = {**self._variables, "add_generation_prompt": add_generation_prompt}
        for piece in self._template.generate(messages=conversation, **variables):
            length += len(piece)
            if length > longest:
                raise EngineError(f"the chat template was stopped after {longest} characters")
            pieces.append(piece)
        return "".join(pieces)


def load_chat_template(engine_dir: Path) -> ChatTemplate | None:
    """Return the chat template of an engine directory; None if the model has none.

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
    """Return the template's source: of a file, else of tokenizer_config.json, in transformers' order."""
    named = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    files = [path for path in named if path.stem == "default"]
    files += [path for path in [folder / "chat_template.jinja"] if path.exists()]
    if files:
        return _read_text(files[0])
    return None if named else _configured(folder, config.get("chat_template"))


def _configured(folder: Path, template: Any) -> str | None:
    """Return the template in tokenizer_config.json: a string, or one of a list of {"name", "template"}."""
    if isinstance(template, list):
        by_name = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = by_name.get("default")
    if template is None or isinstance(template, str):
        return template
    raise _broken(folder, "chat_template in tokenizer_config.json is neither a text nor a list of named ones")


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
        raise _broken(path, str(error)) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path, str(error)) from error


def _broken(path: Path, problem: str) -> EngineDirectoryError:
    return EngineDirectoryError(f"{path} cannot be used ({problem}): repair it or build the engine again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON]
