# SPDX-License-Identifier: Apache-2.0
"""Chat templates written for these tests, each in the manner of a known family of models."""

QWEN = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou answer briefly.<|im_end|>\\n' }}
{%- endif %}
{%- if tools %}
    {{- tools | tojson }}
{%- endif %}
{%- for turn in messages %}
    {%- if turn.role in ('user', 'assistant') or (turn.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + turn.role + '\\n' + turn.content + '<|im_end|>' + '\\n' }}
    {%- elif turn.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' ~ turn.content ~ '\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set turns = messages[1:] %}{% set wish = messages[0]['content'] %}"
    "{% else %}{% set turns = messages %}{% set wish = false %}{% endif %}"
    "{% for turn in turns %}"
    "{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles have to take turns: user, assistant, user, ...') }}{% endif %}"
    "{% if loop.index0 == 0 and wish %}"
    "{% set text = '<<SYS>>\\n' + wish + '\\n<</SYS>>\\n\\n' + turn['content'] %}"
    "{% else %}{% set text = turn['content'] %}{% endif %}"
    "{% if turn['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}"
    "{% elif turn['role'] == 'assistant' %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)

LLAMA3 = """\
{{- bos_token }}
{%- if not day is defined %}
    {%- if strftime_now is defined %}
        {%- set day = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set day = "1 Jan 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set wish = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set wish = '' %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Tools: " + tools | tojson }}
{%- endif %}
{{- "Today: " + day + "\\n\\n" }}
{{- wish }}
{{- "<|eot_id|>" }}
{%- for turn in messages %}
    {%- if not 'tool_calls' in turn %}
        {{- '<|start_header_id|>' + turn.role + '<|end_header_id|>\\n\\n' }}
        {{- turn['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set wish = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{{- bos_token }}
{%- set asked = turns | selectattr("role", "equalto", "user") | list | length %}
{%- set ns = namespace(user=0) %}
{%- for turn in turns %}
    {%- if turn.role == "user" %}
        {%- set ns.user = ns.user + 1 %}
        {%- if ns.user == asked and wish is defined %}
            {{- "[INST] " + wish + "\\n\\n" + turn.content + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + turn.content + "[/INST]" }}
        {%- endif %}
    {%- elif turn["role"] == "assistant" %}
        {{- " " + turn["content"] | trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant are known here, not " + turn.role) }}
    {%- endif %}
{%- endfor %}
"""

GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set opening = messages[0]['content'] + '\n\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set opening = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if turn['role'] == 'assistant' -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = turn['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (opening if loop.first else "") }}
    {%- if turn['content'] is string -%}
        {{ turn['content'] | trim }}
    {%- elif turn['content'] is iterable -%}
        {%- for part in turn['content'] -%}{{ image_token }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""

# Lines with nothing but blocks, which only trim_blocks and lstrip_blocks take out.
ZEPHYR = """\
{% for turn in messages %}
    {% if turn.role in ['system', 'user', 'assistant'] %}
{{ '<|' + turn.role + '|>\\n' + turn.content + eos_token }}
    {% endif %}
    {% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
    {% endif %}
{% endfor %}
"""

CRAFTED = """\
{#- A comment, and most of what Jinja has. -#}
{%- macro line(role, text, mark='|') -%}
    {{ mark ~ role | upper ~ mark }} {{ text | replace('\\n', ' / ') | trim }}
{% endmacro %}
{%- macro twice() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}
{%- set ns = namespace(seen=[], count=0) %}
{%- for turn in messages %}
    {%- if turn.content | length == 0 %}{% continue %}{% endif %}
    {%- if loop.index > 4 %}{% break %}{% endif %}
    {%- set ns.seen = ns.seen + [turn.role] %}
    {%- set ns.count = ns.count + turn.content.split() | length %}
    {%- if loop.first %}{{ '=' * 5 }}{{ loop.length }}{% endif %}
    {{ line(turn.role, turn.content, mark='*') }}
    {{- turn | tojson }}{{ turn | tojson(indent=2) }}{{ turn.content | tojson(ensure_ascii=True) }}
    {%- if not loop.last %}{{ loop.nextitem.role }}{% else %}.{% endif %}
{% endfor %}
{% for key, value in messages[0].items() %}{{ key }}={{ value | e }};{% endfor %}
{{ messages | map(attribute='role') | unique | join(',') }} {{ ns.seen[::-1] }} {{ ns.count }} {{ 2 ** 3 }}
{{ "%s and %d" % (image_token, 3) }} {{ '{} {x}'.format(1, x='y') }} {{ messages[-1].content[:5].title() }}
{% call(n) twice() %}[{{ n }}]{% endcall %}{% filter upper %}loud{% endfilter %}
{{ unknown }}{{ none }}{{ true }}{{ 1.5 }}{{ documents }}{{ pad_token is defined }}{{ messages[0].missing }}
{{- raise_exception('No pirates.') if 'pirate' in messages[-1].role }}
"""

GENERATION = """\
{{- bos_token }}
{%- for turn in messages %}
    {%- if turn.role == 'assistant' %}
        {%- set before = 'A: ' %}
        {%- generation %}
            {%- set inside = 'only here' %}
            {{- before ~ turn.content ~ eos_token }}
        {% endgeneration %}
        {{- inside }}
    {%- else %}
        {{- turn.role[:1] | upper ~ ': ' ~ turn.content }}
    {%- endif %}
{% endfor %}
{% generation %}
  a line of its own
{% endgeneration %}
{% if add_generation_prompt %}A:{% endif %}
"""

# No message that has what it looks for is an error of Jinja's own.
NEEDY = (
    "{{ messages[1].content | trim }}{{ (messages | selectattr('role', 'equalto', 'user') | first).content }}"
)

# As of models that also see images: content is a string or parts, read in a macro.
PARTS = """\
{%- macro write(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'image' or 'image_url' in part -%}
                {{- image_token -}}
            {%- elif 'text' in part -%}
                {{- part.text | trim -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- for turn in messages -%}
    {%- if turn.role == 'system' and not loop.first -%}
        {{- raise_exception('The system speaks first.') -}}
    {%- endif -%}
    {{- '<|' ~ turn.role ~ (' ' ~ turn.name if turn.name is defined else '') ~ '|>' -}}
    {{- write(turn.content) ~ eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
"""

TEMPLATES = {
    "qwen": QWEN,
    "llama2": LLAMA2,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "zephyr": ZEPHYR,
    "crafted": CRAFTED,
    "generation": GENERATION,
    "needy": NEEDY,
    "parts": PARTS,
}
