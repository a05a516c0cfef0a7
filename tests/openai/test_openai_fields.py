# SPDX-License-Identifier: Apache-2.0
"""Every field of OpenAI's two calls, which the types of its client list: served, welcome or refused."""

import typing

import pytest
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params

from tests.openai.frontend import MESSAGES, MODEL, PROMPT

# Values that have an effect, or are accepted for what others do with them.
SERVED = {
    "messages": MESSAGES,
    "model": MODEL,
    "prompt": PROMPT,
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 2,
    "stop": ["x"],
    "seed": 7,
    "max_tokens": 3,
    "max_completion_tokens": 3,
    "echo": True,
    "user": "someone",
    "metadata": {"a": "b"},
    "logit_bias": {"5": -100, "50256": 0},
    "safety_identifier": "someone",
    "prompt_cache_key": "key",
}
# Values of what is not served that change nothing. Null is welcome everywhere.
NEUTRAL = {
    "audio": [],
    "best_of": [1],
    "frequency_penalty": [0, 0.0],
    "presence_penalty": [0],
    "function_call": ["none", "auto"],
    "functions": [[]],
    "logprobs": [],  # a switch for chats, a number for completions: test_openai_log_probs.py
    "modalities": [["text"]],
    "moderation": [],
    "parallel_tool_calls": [True, False],
    "prediction": [],
    "prompt_cache_options": [{}],
    "prompt_cache_retention": ["in_memory"],
    "reasoning_effort": ["none"],
    "response_format": [{"type": "text"}],
    "service_tier": ["auto", "default"],
    "store": [False],
    "suffix": [""],
    "tool_choice": ["none", "auto"],
    "tools": [[]],
    "top_logprobs": [],
    "verbosity": ["medium"],
    "web_search_options": [],
}
REFUSED = {
    "audio": {"voice": "alloy", "format": "wav"},
    "best_of": 3,
    "frequency_penalty": 1,  # OpenVINO computes penalties wrongly
    "presence_penalty": 1,
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "modalities": ["text", "audio"],
    "moderation": {"model": "m"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "xml"},
    "service_tier": "flex",
    "store": True,
    "suffix": "end",
    "tool_choice": "required",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "top_logprobs": 5,
    "verbosity": "high",
    "web_search_options": {},
}
OURS = {
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "min_tokens": 2,
    "ignore_eos": True,
    "add_special_tokens": False,
    "end_id": 5,
    "deadline_ms": 60_000,
    "bad_words": [],
    "length_penalty": 1,
    "beam_width": 1,
}
OF_CHAT = {"add_generation_prompt": False, "continue_final_message": False}
BASES = {
    "chat": chat_params.CompletionCreateParamsBase,
    "complete": completion_params.CompletionCreateParamsBase,
}
FIELDS = [(call, name) for call, base in BASES.items() for name in [*typing.get_type_hints(base), "stream"]]


def test_this_module_knows_every_field_of_openais_client():
    """One that a newer client has must be added to the routes, and here."""
    known = SERVED.keys() | NEUTRAL.keys()
    assert {name for _, name in FIELDS} == known
    assert REFUSED.keys() <= NEUTRAL.keys()


@pytest.mark.parametrize(("call", "name"), FIELDS)
def test_a_field_is_served_or_refused(frontend, call, name):
    required = ("messages", "prompt", "model")
    if name in SERVED:
        more = {"stream": True} if name == "stream_options" else {}
        values = [SERVED[name]] if name in required else [SERVED[name], None]
    else:
        more, values = {}, [None, *NEUTRAL[name]]
    for value in values:
        answer = getattr(frontend, call)(**more, **{name: value})
        assert answer.status == 200, answer.body
    if name in REFUSED:
        answer = getattr(frontend, call)(**{name: REFUSED[name]})
        assert answer.status == 400
        assert answer.error["param"] == name
        assert answer.error["message"].startswith(f"{name}: ")


@pytest.mark.parametrize("call", BASES)
@pytest.mark.parametrize("name", OURS)
def test_our_own_fields_are_served(frontend, call, name):
    for value in (OURS[name], None):
        answer = getattr(frontend, call)(**{name: value})
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("name", OF_CHAT)
def test_fields_of_chat_templates_are_the_chats(frontend, name):
    assert frontend.chat(**{name: OF_CHAT[name]}).status == 200
    assert frontend.complete(**{name: OF_CHAT[name]}).error["param"] == name


def test_zeros_change_nothing(frontend):
    """The greedy text is the same with every neutral value at once."""
    plain = frontend.chat(temperature=0, max_tokens=20).content["choices"]
    neutral = {name: values[0] for name, values in NEUTRAL.items() if values}
    for name in ("best_of", "suffix"):
        del neutral[name]
    assert frontend.chat(temperature=0, max_tokens=20, **neutral).content["choices"] == plain
