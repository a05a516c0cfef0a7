# SPDX-License-Identifier: Apache-2.0
"""Conversations, rendered with the model's own chat template."""

import json

import pytest

from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, generate, joined, post, refusal
from tests.conftest import BOTH_ENGINES
from tests.server.conftest import with_chat_template

pytestmark = BOTH_ENGINES

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}The package manager"
CONVERSATION = [{"role": "user", "content": "Say “hé”"}, {"role": "assistant", "content": "hé"}]


@pytest.fixture(scope="module")
def chatting(served_engine, tmp_path_factory):
    """A server whose model has a chat template."""
    copy = tmp_path_factory.mktemp("chatting") / "engine"
    engine = with_chat_template(served_engine, copy, TEMPLATE)
    with (engine.parent / "log").open("wb") as log, running(engine, free_ports(), log) as server:
        server.wait_ready()
        yield server


def test_messages_are_rendered_with_the_model_s_template(chatting):
    """A template writes its special tokens itself, so none is added: one fewer than text_input has."""
    rendered = "user: Say “hé”\nassistant: hé\nThe package manager"
    status, text = post(chatting, "generate", {"messages": json.dumps(CONVERSATION), "max_tokens": 8})
    answer = json.loads(text)
    as_text = generate(chatting, rendered, max_tokens=8)
    assert (status, answer["num_input_tokens"]) == (200, as_text["num_input_tokens"] - 1)
    with GrpcStream(chatting) as stream:
        asked = {"messages": json.dumps(CONVERSATION), "max_tokens": 8, "exclude_input_in_output": False}
        echoed = joined(stream.ask(**asked, stream=True))
    assert echoed == rendered + answer["text_output"]


def test_messages_may_have_parts_and_a_last_one_that_goes_on(chatting):
    parts = [{"type": "text", "text": "Say"}, {"type": "text", "text": "“hé”"}]
    messages = [
        {"role": "user", "name": "Ann", "content": parts},
        {"role": "assistant", "content": "The package"},
    ]
    fields = {"messages": json.dumps(messages), "max_tokens": 8, "exclude_input_in_output": False}
    rendered = "user: Say\n“hé”\nassistant: The package"
    for ending, prompt in [
        ({}, f"{rendered}\nThe package manager"),
        ({"continue_final_message": True}, rendered),
        ({"continue_final_message": True, "add_generation_prompt": False}, rendered),
    ]:
        status, text = post(chatting, "generate", {**fields, **ending})
        as_text = generate(chatting, prompt, max_tokens=8, add_special_tokens=False)
        assert (status, json.loads(text)["text_output"]) == (200, prompt + as_text["text_output"])


def test_messages_that_are_none_are_refused(chatting):
    for messages, told in [
        ("[]", "messages: got an empty array"),
        ('[{"role": "user"}]', "messages: item 0 has no content"),
        ("hello", "messages: not JSON"),
        (
            '[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}]',
            "messages: item 0: part 0 has type 'image_url'; this server takes text alone",
        ),
    ]:
        status, message = refusal(chatting, {"messages": messages})
        assert (status, message.startswith(f"in ensemble 'ensemble', {told}")) == (400, True)


def test_a_conversation_that_cannot_be_continued_is_refused_with_the_field(chatting):
    messages = json.dumps(CONVERSATION[:1])
    for fields, told in [
        ({}, "continue_final_message: the last message is not the assistant's"),
        ({"add_generation_prompt": True}, "continue_final_message: add_generation_prompt is true too"),
    ]:
        status, message = refusal(chatting, {"messages": messages, "continue_final_message": True, **fields})
        assert (status, message.startswith(f"in ensemble 'ensemble', {told}")) == (400, True)
