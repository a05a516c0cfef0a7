# SPDX-License-Identifier: Apache-2.0
"""The fields of one request as a typed record: aliases resolved, every absence explicit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_ensemble.errors import RequestError

# Names that TensorRT-LLM's clients use, and the field that each is. pad_id has no effect: nothing is padded.
ALIASES = {"min_length": "min_tokens", "random_seed": "seed"}
IGNORED = ("pad_id",)
# NVIDIA's clients know adapters by numbers, 0 for none: the one whose name is that number.
TASK_ID = "lora_task_id"


class RequestFields(msgspec.Struct, frozen=True, kw_only=True):
    """The checked values of the contract's fields. None: the field was not sent, and that means something.

    sent_as: the input by which an aliased field was sent, where that is not the field's own name.
    """

    text_input: str | None = None
    messages: str | None = None
    tools: str = ""
    tool_choice: str = ""
    parallel_tool_calls: bool = True
    input_ids: list[int] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    max_tokens: int | None = None
    min_tokens: int = 0
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    length_penalty: float = 1.0
    seed: int | None = None
    beam_width: int = 1
    num_return_sequences: int | None = None
    stop_words: list[str] = []
    bad_words: list[str] = []
    logit_bias: str = ""
    embedding_bias_words: list[str] = []
    embedding_bias_weights: list[float] = []
    guided_decoding_guide_type: str = ""
    guided_decoding_guide: str = ""
    lora_name: str = ""
    end_id: int | None = None
    ignore_eos: bool = False
    exclude_input_in_output: bool = True
    skip_special_tokens: bool = True
    return_log_probs: bool = False
    top_log_probs: int = 0
    deadline_ms: int | None = None
    sent_as: Mapping[str, str] = {}

    @property
    def prompt_field(self) -> str:
        """The field that the prompt comes from."""
        if self.input_ids is not None:
            return "input_ids"
        return "text_input" if self.messages is None else "messages"

    def name_of(self, field: str) -> str:
        """Return the input by which a field was sent, for messages to the client."""
        return self.sent_as.get(field, field)


def request_fields(values: Mapping[str, Any]) -> RequestFields:
    """Return the record of checked values by input name.

    Raise RequestError if both names of one field were sent and their values differ.
    """
    fields = {name: value for name, value in values.items() if name not in IGNORED}
    sent_as = {}
    for alias, name in ALIASES.items():
        if alias not in fields:
            continue
        value = fields.pop(alias)
        if name not in fields:
            fields[name], sent_as[name] = value, alias
        elif fields[name] != value:
            raise RequestError(
                alias, f"got {value}, but {name} is {fields[name]}; they are one field, send one of them"
            )
    if task_id := fields.pop(TASK_ID, 0):
        if (fields.get("lora_name") or str(task_id)) != str(task_id):
            raise RequestError(TASK_ID, f"got {task_id}, but lora_name is another adapter; send one of them")
        fields["lora_name"], sent_as["lora_name"] = str(task_id), TASK_ID
    return RequestFields(**fields, sent_as=sent_as)
