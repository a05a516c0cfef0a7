# SPDX-License-Identifier: Apache-2.0
import json
import re
from datetime import datetime

import pytest

from llm_ensemble.contract.content import Reads
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.preprocessing.chat import ChatTemplate, load_chat_template

HI = json.dumps([{"role": "user", "content": "hi"}])
DUMB = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def render(source, messages=HI, **special_tokens):
    return ChatTemplate(source, special_tokens).render(messages)


@pytest.fixture
def engine_dir(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    return tmp_path


def write(engine_dir, name, content):
    path = engine_dir / "tokenizer" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


# Where a template is found


def test_a_model_without_a_chat_template_has_none(engine_dir, unit_engine_dir):
    assert load_chat_template(unit_engine_dir) is None
    write(engine_dir, "tokenizer_config.json", {"bos_token": "<s>", "chat_template": None})
    assert load_chat_template(engine_dir) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "日本"),
        ("tokenizer_config.json", {"chat_template": "日本"}),
        (
            "tokenizer_config.json",
            {"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "日本"}]},
        ),
        ("additional_chat_templates/default.jinja", "日本"),
    ],
)
def test_a_template_is_found_in_each_place_it_may_be(engine_dir, name, content):
    write(engine_dir, name, content)
    assert load_chat_template(engine_dir).render(HI) == "日本"


def test_a_file_comes_before_the_configuration(engine_dir):
    write(engine_dir, "tokenizer_config.json", {"chat_template": "configured"})
    write(engine_dir, "chat_template.jinja", "a file")
    write(engine_dir, "additional_chat_templates/tool_use.jinja", "for tools")
    assert load_chat_template(engine_dir).render(HI) == "a file"


def test_named_templates_none_of_which_is_the_default_are_none(engine_dir):
    write(engine_dir, "additional_chat_templates/tool_use.jinja", "for tools")
    write(engine_dir, "tokenizer_config.json", {"chat_template": "not read where there are files"})
    assert load_chat_template(engine_dir) is None
    (engine_dir / "tokenizer/additional_chat_templates/tool_use.jinja").unlink()
    write(engine_dir, "tokenizer_config.json", {"chat_template": [{"name": "rag", "template": "x"}]})
    assert load_chat_template(engine_dir) is None


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("chat_template.jinja", "{% for m in messages %}", "endfor"),
        ("chat_template.jinja", "{{ messages | no_such_filter }}", "no_such_filter"),
        ("chat_template.jinja", "{% for x in [1] %}" * 30 + "{% endfor %}" * 30, "nested"),
        ("tokenizer_config.json", {"chat_template": 5}, "chat_template"),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": 5}]}, "chat_template"),
        ("tokenizer_config.json", "{", "tokenizer_config.json"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json"),
    ],
)
def test_a_broken_template_is_one_line_that_says_what_to_do(engine_dir, name, content, word):
    write(engine_dir, name, content)
    with pytest.raises(EngineDirectoryError, match="build the engine again$") as caught:
        load_chat_template(engine_dir)
    assert word in str(caught.value)
    assert str(engine_dir) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_that_is_not_utf_8_or_no_file_is_one_line_too(engine_dir):
    template = engine_dir / "tokenizer/chat_template.jinja"
    template.write_bytes(b"\xff")
    with pytest.raises(EngineDirectoryError, match=r"chat_template\.jinja .*utf-8"):
        load_chat_template(engine_dir)
    template.unlink()
    template.mkdir()
    with pytest.raises(EngineDirectoryError, match=r"chat_template\.jinja .*directory"):
        load_chat_template(engine_dir)


# Special tokens

TOKENS = "{{ bos_token }}|{{ eos_token }}|{{ image_token }}|{{ boi }}|{{ bos_token is defined }}"


def test_special_tokens_may_be_texts_or_objects_and_absent_ones_are_undefined(engine_dir):
    write(engine_dir, "chat_template.jinja", TOKENS)
    config = {
        "bos_token": None,
        "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False},
        "image_token": "<img>",
        "extra_special_tokens": {"boi": "<boi>"},
        "add_bos_token": True,
    }
    write(engine_dir, "tokenizer_config.json", config)
    assert load_chat_template(engine_dir).render(HI) == "|</s>|<img>|<boi>|False"


def test_the_special_tokens_map_is_read_unless_the_configuration_lists_its_tokens_itself(engine_dir):
    write(engine_dir, "chat_template.jinja", TOKENS)
    write(engine_dir, "tokenizer_config.json", {"bos_token": "<old>", "eos_token": "</s>"})
    write(engine_dir, "special_tokens_map.json", {"bos_token": {"content": "<s>"}})
    assert load_chat_template(engine_dir).render(HI).startswith("<s>|</s>|")
    write(engine_dir, "tokenizer_config.json", {"bos_token": "<old>", "added_tokens_decoder": {}})
    assert load_chat_template(engine_dir).render(HI).startswith("<old>||")


# What a template sees


def test_the_prompt_is_what_the_template_says_with_nothing_escaped():
    messages = json.dumps([{"role": "user", "content": "<b> & \"q\" 'q' \n {{ 1 + 1 }} 日本"}])
    assert render(DUMB, messages) == "<user><b> & \"q\" 'q' \n {{ 1 + 1 }} 日本"


def test_tojson_writes_json_and_not_html():
    messages = json.dumps([{"role": "user", "content": "<é> & '"}])
    assert render("{{ messages[0] | tojson }}", messages) == '{"role": "user", "content": "<é> & \'"}'


def test_a_generation_prompt_is_asked_for_and_tools_and_documents_are_none():
    source = "{{ add_generation_prompt }} {{ tools is none }} {{ documents is none }} {{ other is defined }}"
    assert render(source) == "True True True False"


def test_block_lines_leave_no_blanks_and_loops_may_be_left():
    source = (
        "{% for m in [1, 2, 3] %}\n    {% if m == 2 %}\n{% continue %}{% endif %}\n{{ m }}\n{% endfor %}\n"
    )
    assert render(source) == "1\n3\n"


def test_a_loop_may_be_broken_off():
    source = "{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% else %}none{% endfor %}."
    assert render(source) == "1."


def test_generation_blocks_render_as_what_is_in_them():
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}."
    assert render(source) == "hi."


def test_strftime_now_is_the_day():
    assert datetime.strptime(render("{{ strftime_now('%d %b %Y') }}"), "%d %b %Y")


# What goes wrong


def test_a_faulty_conversation_is_the_messages_error():
    with pytest.raises(RequestError, match="^messages: item 0 has no content"):
        render(DUMB, '[{"role": "user"}]')


def test_a_template_that_refuses_is_the_caller_s_error_in_its_own_words():
    source = "{{ raise_exception('Conversation roles must\\nalternate: ' + messages[0].role) }}"
    expected = "messages: the model's chat template refuses them: Conversation roles must alternate: user"
    with pytest.raises(RequestError, match=f"^{re.escape(expected)}$"):
        render(source)


def test_a_refusal_is_cut_where_it_repeats_a_book():
    with pytest.raises(RequestError) as caught:
        render("{{ raise_exception('x' * 100000) }}")
    assert len(str(caught.value)) < 600


def test_a_conversation_that_lacks_what_the_template_uses_is_the_caller_s_error():
    with pytest.raises(
        RequestError, match="^messages: the model's chat template needs what they lack: .*element 1"
    ):
        render("{{ messages[1].content }}")


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ (''|attr('__class__')).__mro__ }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ ('{0.__class__.__mro__}'|attr('format'))('') }}",
    "{{ raise_exception.__globals__['__builtins__'] }}",
    "{{ strftime_now.__globals__.__builtins__ }}",
    "{{ cycler.__init__.__globals__.os.popen('true') }}",
    "{{ self.__init__.__globals__.os }}",
    "{{ self._TemplateReference__context.environment.globals.clear() }}",
    "{% generation %}{{ caller.__class__.__mro__ }}{% endgeneration %}",
    "{% macro m() %}{% endmacro %}{{ m.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ messages.pop() }}",
    "{{ messages[0].update(role='system') }}",
    "{{ messages[0].clear() }}",
    "{% set _ = messages[0].setdefault('x', 1) %}",
    "{{ messages.sort() }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_a_template_that_reaches_out_of_the_sandbox_or_changes_messages_is_our_error(source):
    with pytest.raises(EngineError, match="SecurityError"):
        render(source)


@pytest.mark.parametrize(
    "source", ["{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% extends '/etc/passwd' %}"]
)
def test_a_template_cannot_read_another_file(source):
    with pytest.raises(EngineError, match="no loader"):
        render(source)


def test_no_module_and_no_builtin_is_in_reach():
    for name in ("open", "eval", "exec", "__import__", "os", "getattr"):
        assert render("{{ " + name + " is defined }}") == "False"


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(1000000000) | list }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ messages }}{% endfor %}{% endfor %}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 10 ** 9 * [1] }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_runs_away_is_stopped_and_is_our_error(source):
    with pytest.raises(EngineError, match="chat template"):
        render(source)


def test_products_and_powers_of_the_usual_sizes_are_as_python_has_them():
    assert (
        render("{{ '-' * 3 }}{{ 2 * [1] }}{{ 6 * 7 }}{{ 2 ** 10 }}{{ 2 ** 0.5 > 1 }}")
        == "---[1, 1]421024True"
    )


def test_a_long_conversation_is_no_runaway():
    messages = json.dumps([{"role": "user", "content": "x" * 3_000_000}])
    assert len(render(DUMB * 2, messages)) > 6_000_000


def test_one_template_renders_the_same_every_time():
    template = ChatTemplate("{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}", {})
    assert [template.render(HI) for _ in range(3)] == ["1", "1", "1"]


# Content in parts

PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
READS_PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'text' %}({{ part['text'] }}){% endif %}{% endfor %}"
    "{% endif %}{% endfor %}"
)
# Parts of a user alone; what a system says is written as Python has it.
READS_PARTS_OF_USERS = (
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% for m in messages if m.role == 'user' %}"
    "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content | map(attribute='text') | join('+') }}"
    "{% endif %}{% endfor %}"
)
# As Mistral Small 3.1's and Llama 4's.
READS_FIRST_OF_SYSTEM = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "[{{ system if system is string else system[0].text }}]{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
)
TAKES_TURNS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('take turns') }}{% endif %}{% endfor %}" + READS_PARTS
)


def said(*turns, **keys):
    return json.dumps([{"role": role, "content": content, **keys} for role, content in turns])


@pytest.mark.parametrize(
    ("source", "turns", "prompt"),
    [
        (DUMB, [("user", PARTS)], "<user>one\ntwo"),
        (
            DUMB,
            [("system", PARTS), ("user", "hi"), ("pirate", PARTS)],
            "<system>one\ntwo<user>hi<pirate>one\ntwo",
        ),
        ("{{ messages[0].content + '!' }}", [("user", PARTS)], "one\ntwo!"),  # a list would be an error
        ("{{ messages[0].content | tojson }}", [("user", PARTS)], '"one\\ntwo"'),
        ("{{ messages[0].content[0].text }}", [("user", PARTS)], "one\ntwo"),
        (READS_FIRST_OF_SYSTEM, [("system", PARTS), ("user", PARTS)], "[one\ntwo]onetwo"),
        (READS_PARTS, [("user", PARTS), ("assistant", "hi")], "<user>(one)(two)<assistant>hi"),
        (READS_PARTS, [("pirate", PARTS)], "<pirate>one\ntwo"),
        (READS_PARTS_OF_USERS, [("system", PARTS), ("user", PARTS)], "one\ntwoone+two"),
        (TAKES_TURNS, [("user", PARTS), ("assistant", PARTS)], "<user>(one)(two)<assistant>(one)(two)"),
        ("{% for p in messages[0].content %}<img>{% endfor %}", [("user", PARTS)], "<img>" * 7),
    ],
)
def test_a_template_gets_parts_so_that_it_writes_all_their_texts(source, turns, prompt):
    assert render(source, said(*turns)) == prompt


def test_whether_a_template_reads_parts_is_asked_once_a_role(monkeypatch):
    asked = []

    def try_parts(_, role):
        asked.append(role)
        return Reads.PARTS

    monkeypatch.setattr("llm_ensemble.preprocessing.chat.try_parts", try_parts)
    template = ChatTemplate(READS_PARTS, {})
    for _ in range(3):
        template.render(said(("user", PARTS), ("assistant", PARTS), ("x" * 9, PARTS)))
    assert asked == ["user", "assistant"]


# Other keys of a message


def test_a_key_that_the_template_names_reaches_it_and_another_is_refused():
    source = "{% for m in messages %}{{ m.name }}:{{ m['reasoning_content'] }}{{ m.content }}{% endfor %}"
    assert render(source, said(("user", "hi"), name="Ann", reasoning_content="so ")) == "Ann:so hi"
    with pytest.raises(
        RequestError,
        match=r"^messages: item 0 has the key 'nmae', which the model's chat template does not read",
    ):
        render(source, said(("user", "hi"), nmae="Ann"))


def test_a_value_that_the_template_cannot_use_is_the_caller_s_error():
    source = "{{ 'so: ' + messages[0].reasoning_content }}"
    with pytest.raises(
        RequestError, match="^messages: the model's chat template fails on a key of theirs: Type"
    ):
        render(source, said(("user", "hi"), reasoning_content=5))
    with pytest.raises(EngineError, match="^the chat template failed: TypeError"):
        render("{{ 'so: ' + 5 }}", said(("user", "hi")))


def test_name_and_keys_that_say_nothing_are_taken_by_every_template():
    """OpenAI's clients send name, and send back the empty keys of an answer."""
    messages = said(("user", "hi"), name="Ann", refusal=None, annotations=[], tool_calls=[])
    assert render(DUMB, messages) == "<user>hi"


def test_any_key_is_taken_by_a_template_that_writes_whole_messages():
    messages = said(("user", "hi"), mood="good")
    assert '"mood": "good"' in render("{{ messages[0] | tojson }}", messages)
    assert (
        render("{% for k, v in messages[0].items() %}{{ k }},{% endfor %}", messages) == "role,content,mood,"
    )


# How a prompt ends

ENDS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
BEGUN = said(("user", "hi"), ("assistant", "Once "))


def test_a_generation_prompt_may_be_left_out():
    assert ChatTemplate(ENDS, {}).render(HI) == "<user>hi</user><assistant>"
    assert ChatTemplate(ENDS, {}).render(HI, add_generation_prompt=False) == "<user>hi</user>"


def continued(source, messages=BEGUN):
    return ChatTemplate(source, {}).render(messages, add_generation_prompt=False, continue_final_message=True)


@pytest.mark.parametrize(
    ("source", "content", "prompt"),
    [
        (ENDS, "Once ", "<user>hi</user><assistant>Once "),
        (ENDS, "", "<user>hi</user><assistant>"),
        (ENDS, PARTS, "<user>hi</user><assistant>one\ntwo"),
        (READS_PARTS, PARTS, "<user>hi<assistant>(one)(two"),
        ("{{ messages[-1].content | trim }}.", " Once ", "Once"),
        ("{{ messages[-1].content | trim }} .", " Once ", "Once "),  # as transformers has it
        (ENDS, "CONTINUE_FINAL_MESSAGE_TAG x", "<user>hi</user><assistant>CONTINUE_FINAL_MESSAGE_TAG x"),
    ],
)
def test_a_final_message_is_continued_where_its_text_ends(source, content, prompt):
    assert continued(source, said(("user", "hi"), ("assistant", content))) == prompt


def test_what_cannot_be_continued_is_refused():
    with pytest.raises(
        RequestError, match="^continue_final_message: the last message is not the assistant's"
    ):
        continued(ENDS, HI)
    for source in ("{{ messages[0].content }}", "{{ messages[-1].content | upper }}"):
        with pytest.raises(
            RequestError, match="^continue_final_message: the model's chat template does not wr"
        ):
            continued(source)
