# SPDX-License-Identifier: Apache-2.0
"""Prompts are, to the character, those of transformers' apply_chat_template."""

import dataclasses
import json
from datetime import date
from pathlib import Path

import pytest

from llm_ensemble.errors import RequestError
from llm_ensemble.preprocessing.chat import load_chat_template
from tests.build_environment import HERE, run_in_build_environment
from tests.engine_build.parity.chat_templates import TEMPLATES as WITHOUT_TOOLS
from tests.openai.tools.templates import WITH_TOOLS

TEMPLATES = {**WITHOUT_TOOLS, **WITH_TOOLS}


def chat(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CONVERSATIONS = {
    "one question": chat(("user", "What is Jinja?")),
    "system first": chat(
        ("system", " Be kind. "), ("user", "Hello"), ("assistant", " Hi! "), ("user", "Bye")
    ),
    "system alone": chat(("system", "Be kind.")),
    "unicode": chat(("user", "日本語 e\u0301 👩‍👩‍👧 שלום \u2028\x00\x7f"), ("assistant", "ñ"), ("user", "ﬁ")),
    "markup": chat(("user", "\"double\" 'single' <b>&amp;</b> \\n {{ 1 + 1 }} {% raw %} <|im_end|></s>")),
    "lines": chat(("user", "\n\n first\r\nsecond\rthird\ttab \n"), ("assistant", "\n"), ("user", "    ")),
    "empty": chat(("user", ""), ("assistant", ""), ("user", "")),
    "same role twice": chat(("user", "a"), ("user", "b")),
    "assistant first": chat(("assistant", "a"), ("user", "b"), ("system", "late")),
    "other roles": chat(("user", "a"), ("tool", '{"x": 1}'), ("pirate", "arr")),
    "long": chat(*[(("user", "assistant")[i % 2], f"turn {i}") for i in range(9)]),
}


UNFINISHED = {
    "a beginning": chat(("user", "Tell a story."), ("assistant", "Once upon")),
    "ends in a space": chat(("user", "Tell a story."), ("assistant", "Once upon ")),
    "ends in lines": chat(("system", "Be brief."), ("user", "a"), ("assistant", " 1.\n2.\n\n")),
    "nothing yet": chat(("user", "a"), ("assistant", "")),
    "blanks alone": chat(("user", "a"), ("assistant", " \n ")),
    "said before": chat(("user", "yes"), ("assistant", "yes"), ("user", "yes"), ("assistant", "yes")),
    "the mark": chat(("user", "TAG"), ("assistant", "CONTINUE_FINAL_MESSAGE_TAG CONTINUE_FINAL_MESSAGE_TAG")),
    "five turns": chat(*[(("user", "assistant")[i % 2], f"turn {i}") for i in range(6)]),
}


def part(*texts):
    return [{"type": "text", "text": text} for text in texts]


IN_PARTS = {
    "parts of a user": chat(("user", part(" one ", "two\n", "")), ("assistant", "ok"), ("user", part("x"))),
    "parts of all": chat(("system", part("s", "t")), ("user", part("u")), ("assistant", part("a", "b"))),
}
UNFINISHED_PARTS = {"parts to continue": chat(("user", part("u")), ("assistant", part(" a ", "b ")))}
NAMED = {"a name": [{"role": "user", "content": "hi", "name": "Ann"}]}


def tool(name, **keys):
    return {"type": "function", "function": {"name": name, **keys}}


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Köln", "<b>"]}},
    "x": [1.5, None],
}
WEATHER = tool("get_weather", description='The "weather"\n of <a> city', parameters=CITY)
CALL = {**tool("get_weather", arguments={"city": "Köln", "days": [1, {"a": None}]}), "id": "a1B2c3D4e"}
RESULT = {"role": "tool", "tool_call_id": "a1B2c3D4e", "name": "get_weather", "content": '{"sun": true}'}
LOOP = [
    *chat(("user", "What is the weather?")),
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    RESULT,
]
TOOL_CHATS = {
    "a tool": (chat(("user", "hi")), [WEATHER]),
    "tools": (
        chat(("system", "Be kind."), ("user", "hi")),
        [WEATHER, tool("now"), tool("log", parameters={})],
    ),
    "a loop": (LOOP, [WEATHER]),
    "a loop and more": (
        [*LOOP, *chat(("assistant", " Sunny. "), ("user", "Thanks"))],
        [WEATHER, tool("now")],
    ),
    "no tools": (chat(("user", "hi")), []),
    "a loop without tools": (LOOP, None),
    "thought": (
        [LOOP[0], {"role": "assistant", "content": "x", "reasoning_content": "so"}, LOOP[0]],
        [WEATHER],
    ),
}

ASKED = {"add_generation_prompt": True}
CHATS = {
    **{name: (messages, ASKED) for name, messages in CONVERSATIONS.items()},
    **{
        f"{name}, no generation prompt": (messages, {"add_generation_prompt": False})
        for name, messages in CONVERSATIONS.items()
    },
    **{
        f"{name}, continued": (messages, {"add_generation_prompt": False, "continue_final_message": True})
        for name, messages in {**UNFINISHED, **UNFINISHED_PARTS}.items()
    },
    **{name: (messages, ASKED) for name, messages in {**IN_PARTS, **NAMED}.items()},
    **{name: (messages, {**ASKED, "tools": tools}) for name, (messages, tools) in TOOL_CHATS.items()},
}
READ_PARTS = {"parts"}  # templates that get parts as they are; to the others they are joined first


def as_transformers_gets_them(template, messages):
    """With parts as one string, where the template takes strings alone."""
    if template in READ_PARTS:
        return messages
    return [
        message
        if isinstance(message["content"], str)
        else {**message, "content": "\n".join(part["text"] for part in message["content"])}
        for message in messages
    ]


@dataclasses.dataclass(frozen=True)
class Answers:
    """Both sides by template and chat: {"text": ...}, {"refused": the reason} or {"not continued": ""}."""

    theirs: dict
    ours: dict


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Answers:
    """One template writes the date, so both sides are asked again where midnight came between."""
    folder = tmp_path_factory.mktemp("chats")
    job = json.dumps({name: job_of(name) for name in TEMPLATES})
    while True:
        today = date.today()
        done = run_in_build_environment(HERE / "parity/render_chats.py", folder, input=job)
        assert done.returncode == 0, done.stderr
        both = Answers(json.loads(done.stdout), {name: render_all(folder / name) for name in TEMPLATES})
        if date.today() == today:
            return both


def job_of(template) -> dict:
    chats = {
        name: {"messages": as_transformers_gets_them(template, messages), "options": options}
        for name, (messages, options) in CHATS.items()
    }
    return {"source": TEMPLATES[template], "chats": chats}


def render_all(engine_dir: Path) -> dict:
    template = load_chat_template(engine_dir)
    return {name: render(template, messages, options) for name, (messages, options) in CHATS.items()}


def render(template, messages, options):
    """A template that reads no tools refuses them here, and writes none there."""
    if options.get("tools") and not reads_tools(template):
        with pytest.raises(RequestError, match="^tools: "):
            template.render(json.dumps(messages), **options)
        options = {name: value for name, value in options.items() if name != "tools"}
    try:
        return {"text": template.render(json.dumps(messages), **options)}
    except RequestError as error:
        return {"refused": str(error)} if error.field == "messages" else {"not continued": ""}


def reads_tools(template):
    return "tools" in template.with_tools.source


@pytest.mark.parametrize("conversation", CHATS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_is_transformers_prompt_and_a_refusal_has_its_reason(answers, template, conversation):
    theirs, ours = (side[template][conversation] for side in (answers.theirs, answers.ours))
    has_calls = any("tool_calls" in message for message in CHATS[conversation][0])
    if has_calls and not any(word in TEMPLATES[template] for word in ("tool_calls", "tojson", "items")):
        assert "has the key 'tool_calls', which the model's chat template does not read" in ours["refused"]
        return
    assert ours.keys() == theirs.keys()
    assert ours.get("text") == theirs.get("text")
    assert ours.get("refused", "").endswith(theirs.get("refused", ""))


def test_the_templates_render_and_refuse_enough_to_be_worth_comparing(answers):
    refused = {
        (template, conversation)
        for template, by_conversation in answers.theirs.items()
        for conversation, answer in by_conversation.items()
        if "refused" in answer and conversation in CONVERSATIONS
    }
    assert ("llama2", "same role twice") in refused
    assert ("mistral", "other roles") in refused
    assert ("crafted", "other roles") in refused
    assert ("needy", "one question") in refused
    assert 8 < len(refused) < 20
    texts = {
        answer["text"] for chats in answers.theirs.values() for answer in chats.values() if "text" in answer
    }
    assert len(texts) > 70


def test_the_special_tokens_and_the_day_reach_the_prompt(answers):
    prompt = answers.ours["llama2"]["system first"]["text"]
    assert prompt == "<s>[INST] <<SYS>>\n Be kind. \n<</SYS>>\n\nHello [/INST] Hi! </s><s>[INST] Bye [/INST]"
    assert date.today().strftime("%Y") in answers.ours["llama3"]["one question"]["text"]


def test_messages_are_continued_and_parts_are_read_often_enough_to_be_worth_comparing(answers):
    continued = {
        chat: {name for name in TEMPLATES if "text" in answers.ours[name][chat]}
        for chat in CHATS
        if chat.endswith("continued")
    }
    assert min(map(len, continued.values())) > 5, continued
    assert any("not continued" in chats[chat] for chats in answers.ours.values() for chat in continued)
    assert answers.ours["qwen"]["ends in a space, continued"]["text"].endswith("assistant\nOnce upon ")
    assert answers.ours["gemma"]["ends in a space, continued"]["text"].endswith("model\nOnce upon")
    assert "<|user|>onetwo</s>" in answers.ours["parts"]["parts of a user"]["text"]
    assert "user\n one \ntwo\n\n<|im_end|>" in answers.ours["qwen"]["parts of a user"]["text"]
    assert "<|user Ann|>" in answers.ours["parts"]["a name"]["text"]
