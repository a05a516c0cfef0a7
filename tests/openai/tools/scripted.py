# SPDX-License-Identifier: Apache-2.0
"""A real server and frontend in front of the scripted engine."""

import contextlib
import json
from types import SimpleNamespace

import msgspec
import pytest
from tokenizers import Tokenizer

from llm_ensemble.manifest import read_manifest, tokenizer_sha256, write_manifest
from serving.tritonserver import free_ports, running
from tests.openai.frontend import frontend_beside
from tests.scripted_engine.kind import NAME
from tests.server.conftest import with_chat_template

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city", "parameters": CITY},
}
TIME = {"type": "function", "function": {"name": "get_time"}}
TOOLS = [WEATHER, TIME]
ROME = '{"city": "Röme 猫"}'


@contextlib.contextmanager
def scripted(demo_engine, folder, template, script, special_tokens=()):
    """A frontend whose model says what the script has by the last word of a prompt."""
    engine = with_chat_template(demo_engine, folder / "engine", template)
    path = str(engine / "tokenizer/tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.add_special_tokens([*special_tokens])
    tokenizer.save(path)
    changes = {"engine": NAME, "tokenizer_sha256": tokenizer_sha256(engine)}
    write_manifest(engine, msgspec.structs.replace(read_manifest(engine), **changes))
    with served(engine, folder, SCRIPT=json.dumps(script)) as frontend:
        yield frontend


@contextlib.contextmanager
def served(engine, folder, **environ):
    """A server of an engine directory, and a frontend for it."""
    with contextlib.ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        log = stack.enter_context((folder / "log").open("wb"))
        server = stack.enter_context(running(engine, free_ports(), log))
        server.wait_ready()
        yield stack.enter_context(frontend_beside(SimpleNamespace(server=server), engine, folder))


def asked(word, **fields):
    """The arguments of a request whose last message ends with a word of the script."""
    return {
        "model": "demo",
        "messages": [{"role": "user", "content": f"Say {word}"}],
        "tools": TOOLS,
        **fields,
    }


def streamed(client, **fields):
    """What a stream's deltas add up to: role, content, reasoning, calls; and the finish reason."""
    whole = {"role": None, "content": "", "reasoning_content": "", "tool_calls": []}
    finish = None
    for event in client.chat.completions.create(stream=True, **fields):
        (choice,) = event.choices
        finish = choice.finish_reason or finish
        delta = choice.delta.model_dump(exclude_unset=True)
        for key in ("role", "content", "reasoning_content"):
            whole[key] = (whole[key] or "") + (delta.get(key) or "")
        for call in delta.get("tool_calls") or ():
            if call["index"] == len(whole["tool_calls"]):
                assert call.keys() == {"index", "id", "type", "function"}
                assert call["function"]["arguments"] == ""
                whole["tool_calls"].append(call)
            else:
                assert call.keys() == {"index", "function"}
                assert call["function"].keys() == {"arguments"}
                whole["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return whole, finish


def calls_of(tool_calls):
    """Name and arguments of each call, of either form."""
    calls = [one if isinstance(one, dict) else one.model_dump() for one in tool_calls or ()]
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
