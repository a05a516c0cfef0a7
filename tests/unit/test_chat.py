# SPDX-License-Identifier: Apache-2.0
import json
import re
from datetime import datetime

import pytest

from llm_ensemble.chat import ChatTemplate, load_chat_template
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError

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
