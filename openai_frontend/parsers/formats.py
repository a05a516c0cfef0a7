# SPDX-License-Identifier: Apache-2.0
"""The formats in which models write tool calls, and which of them a chat template teaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AUTO, OFF, TAGS = "auto", "none", "tags"  # values of the settings


@dataclass(frozen=True)
class CallFormat:
    """How calls are written.

    opening: in front of a call, or of an array of them. closing: behind it, "" for nothing. is_whole_text: a
    call may also begin the text, without the opening. has_arrays: several calls may be an array.
    has_named: a call may be NAME[ARGS]{...}. separator: between calls behind one opening. id_length: of a
    call's id, where the template allows no other. inner: further markers.
    """

    opening: str = ""
    closing: str = ""
    is_whole_text: bool = False
    has_arrays: bool = False
    has_named: bool = False
    separator: str = ""
    id_length: int = 0
    inner: tuple[str, ...] = ()


# What a guide forces, whatever the model's own format (llm_ensemble/contract/guides/tool_guide.py).
FORCED = CallFormat(is_whole_text=True, has_arrays=True)
FORMATS: Mapping[str, CallFormat] = {
    "hermes": CallFormat("<tool_call>", "</tool_call>"),
    "llama3_json": CallFormat("<|python_tag|>", is_whole_text=True, separator=";"),
    "mistral": CallFormat(
        "[TOOL_CALLS]", has_arrays=True, has_named=True, id_length=9, inner=("[ARGS]", "[CALL_ID]")
    ),
}
# Other formats that have a marker of these: parameters as XML in Hermes' tags.
UNKNOWN = ("<function=", "<arg_key>")


def format_of(template: str) -> str | None:
    """Return the name of the format that a chat template teaches; None if it is none of these."""
    if any(marker in template for marker in UNKNOWN):
        return None
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<tool_call>" in template:
        return "hermes"
    is_llama = "<|python_tag|>" in template or ('"parameters"' in template and "<|eot_id|>" in template)
    return "llama3_json" if is_llama else None
