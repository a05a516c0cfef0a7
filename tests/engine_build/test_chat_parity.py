# SPDX-License-Identifier: Apache-2.0
"""Prompts are, to the character, those of transformers' apply_chat_template."""

import dataclasses
import json
from datetime import date
from pathlib import Path

import pytest

from llm_ensemble.chat import load_chat_template
from llm_ensemble.errors import RequestError
from tests.build_environment import HERE, run_in_build_environment
from tests.engine_build.chat_templates import TEMPLATES


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


@dataclasses.dataclass(frozen=True)
class Answers:
    """Both sides by template and conversation: {"text": ...}, or {"refused": ...} with the reason."""

    theirs: dict
    ours: dict


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Answers:
    """One template writes the date, so both sides are asked again where midnight came between."""
    folder = tmp_path_factory.mktemp("chats")
    job = json.dumps({"templates": TEMPLATES, "conversations": CONVERSATIONS})
    while True:
        today = date.today()
        done = run_in_build_environment(HERE / "render_chats.py", folder, input=job)
        assert done.returncode == 0, done.stderr
        both = Answers(json.loads(done.stdout), {name: render_all(folder / name) for name in TEMPLATES})
        if date.today() == today:
            return both


def render_all(engine_dir: Path) -> dict:
    template = load_chat_template(engine_dir)
    return {name: render(template, messages) for name, messages in CONVERSATIONS.items()}


def render(template, messages):
    try:
        return {"text": template.render(json.dumps(messages))}
    except RequestError as error:
        return {"refused": str(error)}


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_is_transformers_prompt_and_a_refusal_has_its_reason(answers, template, conversation):
    theirs, ours = (side[template][conversation] for side in (answers.theirs, answers.ours))
    assert ours.keys() == theirs.keys()
    assert ours.get("text") == theirs.get("text")
    assert ours.get("refused", "").endswith(theirs.get("refused", ""))


def test_the_templates_render_and_refuse_enough_to_be_worth_comparing(answers):
    refused = {
        (template, conversation)
        for template, by_conversation in answers.theirs.items()
        for conversation, answer in by_conversation.items()
        if "refused" in answer
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
