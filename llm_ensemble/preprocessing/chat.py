# SPDX-License-Identifier: Apache-2.0
"""Chat templates: a conversation as the prompt format that a model was trained on.

What it renders equals transformers' apply_chat_template(tokenize=False) of messages whose content is a
string, without transformers. The special tokens are in the text already, so tokenizing it adds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import UndefinedError

from llm_ensemble.contract.content import SHOWN, Message, Reads, as_read, try_parts
from llm_ensemble.contract.messages import parse_messages
from llm_ensemble.contract.tools import Tool
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.manifest import TOKENIZER
from llm_ensemble.preprocessing.continuation import cut_at_mark, mark_final
from llm_ensemble.preprocessing.sandbox import Refused, Sandbox
from llm_ensemble.preprocessing.template_files import broken, read_template_files

# A prompt may be this long: a template that runs away is stopped, one that repeats what it got is not.
SPARE_CHARACTERS = 1_000_000
TIMES_THE_MESSAGES = 10
CHECKED = ("role", "content", "name", "tool_call_id")  # of known types
# A template that does not read reasoning leaves it out by design, and clients send back what they got.
ALWAYS_TAKEN = (*CHECKED, "reasoning_content")
ROLES_TRIED = ("system", "developer", "user", "assistant", "tool")  # of any other, content is one string
TRIED: dict[str, Any] = {"add_generation_prompt": True, "tools": None}
NOT_READ = "which the model's chat template does not read; leave it out"
LONGEST_REASON = 500  # characters of a template's own words that go to the client


class ChatTemplate:
    """A compiled chat template with its model's special tokens; may render in several threads at once."""

    def __init__(
        self, source: str, special_tokens: Mapping[str, str], tool_use: ChatTemplate | None = None
    ) -> None:
        """Compile `source`. special_tokens: by name, such as bos_token. Raise what Jinja raises.

        tool_use: the model's template for requests with tools, if it has one of its own for them.
        """
        self.source = source
        self.with_tools = tool_use or self
        sandbox = Sandbox()
        self._template = sandbox.from_string(source)
        names = sandbox.parse(source).find_all(nodes.Name)
        self._reads_tools = any(name.name == "tools" and name.ctx == "load" for name in names)
        self._variables = {**special_tokens, "documents": None}
        self._reads: dict[str, Reads] = {}  # what the template reads of parts, by role

    def render(
        self,
        messages: str,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: list[Tool] | None = None,
    ) -> str:
        """Return the prompt that asks for the next answer in `messages`, a JSON array.

        continue_final_message: the prompt ends with the last message's text; then no generation prompt.
        tools: checked; None for none.
        Raises RequestError when the array is not a conversation or the template cannot take it, EngineError
        when the template does what no template may, or fails in a way that has nothing to do with the caller.
        """
        if tools and self.with_tools is not self:
            return self.with_tools.render(messages, add_generation_prompt, continue_final_message, tools)
        if tools and not self._reads_tools:
            raise RequestError("tools", f"{NOT_READ}, or describe them in a message")
        conversation = self._read(messages)
        longest = SPARE_CHARACTERS + TIMES_THE_MESSAGES * (len(messages) + len(str(tools)))
        options = {"add_generation_prompt": add_generation_prompt, "tools": tools}
        if not continue_final_message:
            return self._render(conversation, longest, options)
        marked, text = mark_final(conversation)
        return cut_at_mark(self._render(marked, longest, options), text)

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
        return key in ALWAYS_TAKEN or any(word in self.source for word in (key, "tojson", "items"))

    def _reads_of(self, message: Message) -> Reads:
        """Return what the template reads of a message's parts; tried once a role, with the first parts."""
        role = message["role"]
        if isinstance(message["content"], str) or role not in ROLES_TRIED:
            return Reads.STRINGS
        if role not in self._reads:
            self._reads[role] = try_parts(lambda trial: self._generate(trial, SPARE_CHARACTERS, TRIED), role)
        return self._reads[role]

    def _render(self, conversation: list[Message], longest: int, options: dict[str, Any]) -> str:
        try:
            return self._generate(conversation, longest, options)
        except Refused as refusal:
            raise RequestError(
                "messages", f"the model's chat template refuses them: {_line(refusal)}"
            ) from None
        except UndefinedError as error:  # such as the second message of a conversation that has one
            self._blame_tools(conversation, longest, options, error)
            raise RequestError(
                "messages", f"the model's chat template needs what they lack: {_line(error)}"
            ) from error
        except EngineError:
            raise
        except Exception as error:  # a stranger's program: it may raise anything
            reason = f"{type(error).__name__}: {_line(error)}"
            self._blame_tools(conversation, longest, options, error)
            if isinstance(error, TypeError) and any(message.keys() - CHECKED for message in conversation):
                raise RequestError(  # only these keys' values may be of any type
                    "messages", f"the model's chat template fails on a key of theirs: {reason}"
                ) from error
            raise EngineError(f"the chat template failed: {reason}") from error

    def _blame_tools(
        self, conversation: list[Message], longest: int, options: dict[str, Any], error: Exception
    ) -> None:
        """Raise RequestError if it is the tools that a template fails on: their values may be of any type.

        Such as a function without a description or without parameters, which are optional.
        """
        if not options["tools"]:
            return
        try:
            self._generate(conversation, longest, {**options, "tools": None})
        except Exception:  # it fails without them, too
            return
        reason = f"{type(error).__name__}: {_line(error)}"
        raise RequestError("tools", f"the model's chat template fails on them: {reason}") from error

    def _generate(self, conversation: list[Message], longest: int, options: dict[str, Any]) -> str:
        pieces, length = [], 0
        variables = {**self._variables, **options}
        for piece in self._template.generate(messages=conversation, **variables):
            length += len(piece)
            if length > longest:
                raise EngineError(f"the chat template was stopped after {longest} characters")
            pieces.append(piece)
        return "".join(pieces)


def load_chat_template(engine_dir: Path) -> ChatTemplate | None:
    """Return the chat template of an engine directory; None if the model has none.

    Of several named ones it is the one called "default"; that called "tool_use" is for requests with tools,
    as transformers has it. Raises EngineDirectoryError when it cannot be read or is not valid Jinja.
    """
    folder = engine_dir / TOKENIZER
    sources, tokens = read_template_files(folder)
    try:
        tool_use = ChatTemplate(sources["tool_use"], tokens) if "tool_use" in sources else None
        return ChatTemplate(sources["default"], tokens, tool_use) if "default" in sources else None
    except Exception as error:  # Jinja's own errors, and Python's for what Jinja compiled
        raise broken(folder, f"the chat template is not valid: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON]
