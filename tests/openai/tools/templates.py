# SPDX-License-Identifier: Apache-2.0
"""Chat templates written for these tests, with tools and reasoning, each in the manner of a known family."""

HERMES = """\
{%- if tools %}
    {{- '<|im_start|>system\\nYou may call these, in <tool_call></tool_call> tags:' }}
    {%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for turn in messages %}
    {{- '<|im_start|>' + turn.role }}
    {%- if turn.role == 'assistant' and turn.reasoning_content %}
        {{- '\\n<think>' + turn.reasoning_content + '</think>' }}
    {%- endif %}
    {%- if turn.content %}{{ '\\n' + turn.content }}{% endif %}
    {%- for call in turn.tool_calls or [] %}
        {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
        {{- call.function.arguments | tojson }}
        {{- '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
# The answer's reasoning is begun by the prompt.
OPENING = HERMES.replace("assistant\\n'", "assistant\\n<think>\\n'")

LLAMA3 = """\
{{- bos_token }}
{%- if not tools is defined %}{% set tools = none %}{% endif %}
{%- for turn in messages %}
    {%- if 'tool_calls' in turn %}
        {%- if turn.tool_calls | length != 1 %}{{ raise_exception("One call at a time!") }}{% endif %}
        {%- set call = turn.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}<|eot_id|>' }}
    {%- elif turn.role in ('tool', 'ipython') %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
        {%- if turn.content is mapping or (turn.content is iterable and turn.content is not string) %}
            {{- turn.content | tojson }}
        {%- else %}
            {{- turn.content }}
        {%- endif %}
        {{- '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + turn.role + '<|end_header_id|>\\n\\n' }}
        {%- if turn.role == 'user' and tools is not none and loop.last %}
            {{- 'Answer with {"name": function name, "parameters": its arguments}.\\n' }}
            {%- for tool in tools %}{{ tool | tojson(indent=4) + '\\n' }}{% endfor %}
        {%- endif %}
        {{- turn.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
"""

MISTRAL = """\
{{- bos_token }}
{%- for turn in messages %}
    {%- if turn.role == 'user' %}
        {%- if tools is not none and loop.last %}
            {{- '[AVAILABLE_TOOLS] [' }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, value in tool.items() if key != 'return' %}
                    {%- if value is string %}{{ '"' + key + '": "' + value + '"' }}
                    {%- else %}{{ '"' + key + '": ' + value | tojson }}{% endif %}
                    {%- if not loop.last %}{{ ', ' }}{% endif %}
                {%- endfor %}
                {{- '}}' + ('' if loop.last else ', ') }}
            {%- endfor %}
            {{- '][/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + turn.content + '[/INST]' }}
    {%- elif turn.tool_calls is defined and turn.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in turn.tool_calls %}
            {%- if call.id is not defined or call.id | length != 9 %}
                {{- raise_exception("Tool call IDs must have 9 letters and digits!") }}
            {%- endif %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] + ', "id": "' + call.id + '"}' + ('' if loop.last else ', ') }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- elif turn.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + turn.content | string + ', "call_id": "' }}
        {{- turn.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- ' ' + turn.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""

WITH_TOOLS = {"hermes": HERMES, "llama3_json": LLAMA3, "mistral": MISTRAL, "opening": OPENING}
