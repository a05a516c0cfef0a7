# SPDX-License-Identifier: Apache-2.0
"""Makes the fields of a request from the arguments of a call.

Names and types are checked here: a tensor needs both, and Triton's HTTP frontend responds 500 to a wrong type
and truncates integers to 32 bits. The server checks ranges, since it knows its engine's limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypedDict

from llm_ensemble.contract.fields import FIELDS, INT32_MAX, refuse_unknown
from llm_ensemble_client.errors import InvalidRequest

Fields = dict[str, Any]  # checked values by name, without absent fields; words and ids are lists
Message = Mapping[str, Any]  # role, content, and other keys that the chat template reads

NO_KEYWORDS = ("text_input", "messages", "input_ids", "stream")  # of Sampling
JSON_FIELDS = ("tools", "tool_choice", "logit_bias", "guided_decoding_guide")  # JSON text, or its values
LIMITS = {"INT32": (-INT32_MAX - 1, INT32_MAX), "UINT64": (0, 2**64 - 1)}
FP32_MAX = 3.4028234e38


class Sampling(TypedDict, total=False):
    """The keyword arguments of generate() and stream(): the request's fields. None means not given.

    A request is greedy if none of temperature, top_p, top_k and min_p is given. Their ranges and defaults are
    in docs/contract.md.
    """

    add_special_tokens: bool | None  # default True with a prompt, without a second BOS; False with messages
    add_generation_prompt: bool | None  # of messages; default True
    continue_final_message: bool | None  # of messages: the completion continues the last one; default False
    max_tokens: int | None  # default: the manifest's, 128 unless built otherwise; -1: as many as fit
    min_tokens: int | None
    min_length: int | None  # alias of min_tokens
    temperature: float | None  # 0 to 100; 0 is greedy
    top_p: float | None  # 0 to 1; default 1
    min_p: float | None  # 0 to 1; default 0
    top_k: int | None  # default 0: all tokens, as with -1
    repetition_penalty: float | None  # above 0; default 1
    presence_penalty: float | None  # -2 to 2; default 0
    frequency_penalty: float | None  # -2 to 2; default 0
    length_penalty: float | None  # default 1
    seed: int | None  # default: random for each request
    random_seed: int | None  # alias of seed
    beam_width: int | None  # default 1
    num_return_sequences: int | None
    stop_words: Sequence[str] | None  # the text ends before the first of them; a string is one word
    bad_words: Sequence[str] | None
    tools: Sequence[Mapping[str, Any]] | str | None  # of messages: as OpenAI's API has them
    tool_choice: Mapping[str, Any] | str | None  # none, auto, required, or a tool as OpenAI's API names it
    parallel_tool_calls: bool | None  # default True; False: one call at most, with tool_choice required
    logit_bias: Mapping[int, float] | str | None  # added to the logits of token ids, -100 to 100
    embedding_bias_words: Sequence[str] | None  # logit_bias by words, NVIDIA's: added for each token of them
    embedding_bias_weights: Sequence[float] | None  # one a word
    guided_decoding_guide_type: str | None  # json, json_schema, regex, ebnf_grammar, choice
    guided_decoding_guide: Mapping[str, Any] | Sequence[str] | str | None  # a schema or choices, or text
    lora_name: str | None  # the adapter
    lora_task_id: int | None  # the adapter whose name is this number; 0 is none
    end_id: int | None  # token id
    pad_id: int | None  # token id
    ignore_eos: bool | None  # default False
    exclude_input_in_output: bool | None  # default True
    skip_special_tokens: bool | None  # default True: special tokens are not in the text
    return_log_probs: bool | None  # default False
    top_log_probs: int | None  # of how many most probable tokens, 0 to 20; with return_log_probs
    deadline_ms: int | None  # milliseconds; then the text so far is returned, finish_reason "timeout"


def build_fields(
    prompt: str | None,
    messages: Sequence[Message] | None,
    sampling: Mapping[str, Any],
    input_ids: Iterable[int] | None = None,
) -> Fields:
    """Return the fields of a request. Raise InvalidRequest with the name of a wrong argument."""
    if sum(given is not None for given in (prompt, messages, input_ids)) != 1:
        raise _wrong("text_input", "give a prompt, messages or input_ids, one of them")
    for name in sampling:
        if name in NO_KEYWORDS:
            raise _wrong(
                name, "is no keyword: give the prompt first, messages by name, and call stream() to stream"
            )
        if name not in FIELDS:
            raise InvalidRequest(str(refuse_unknown(name)), name)
    given = {"text_input": prompt, "messages": _messages(messages), "input_ids": input_ids, **sampling}
    fields = {name: _check(name, value) for name, value in given.items() if value is not None}
    return {name: value for name, value in fields.items() if value != []}


def _messages(messages: Sequence[Message] | None) -> str | None:
    if messages is None:
        return None
    try:
        return _as_json("messages", [dict(message) for message in messages])
    except (TypeError, ValueError) as error:
        raise _wrong("messages", f"cannot be written as JSON: {error}") from error


def _as_json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise _wrong(name, f"cannot be written as JSON: {error}") from error


def _check(name: str, value: Any) -> Any:
    field = FIELDS[name]
    if name == "input_ids":
        return _ids(name, value)
    if field.datatype == "FP32" and field.many:
        return [_float(name, number) for number in _listed(name, value, "numbers")]
    if field.many:
        words = [value] if isinstance(value, str) else value
        return [_text(name, word) for word in _listed(name, words, "strings")]
    if field.datatype == "BYTES":
        is_json = name in JSON_FIELDS and not isinstance(value, str)
        return _text(name, _as_json(name, value) if is_json else value)
    if field.datatype == "BOOL":
        if not isinstance(value, bool):
            raise _wrong(name, f"got {value!r}, must be True or False")
        return value
    return _float(name, value) if field.datatype == "FP32" else _integer(name, field.datatype, value)


def _listed(name: str, value: Any, of: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise _wrong(name, f"got {value!r}, must be a list of {of}")
    return value


def _ids(name: str, value: Any) -> list[int]:
    """Return token ids as a list; they may come in an array of numpy's, too."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        raise _wrong(name, f"got {value!r}, must be a list of token ids")
    ids = [_integer(name, "INT32", one) for one in value]
    if not ids:
        raise _wrong(name, "empty; give at least one token id")
    return ids


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, f"got {value!r}, must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _wrong(name, f"no UTF-8 can be made of character {error.start}, half of a pair") from error
    return value


def _integer(name: str, datatype: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _wrong(name, f"got {value!r}, must be an integer")
    value, (low, high) = int(value), LIMITS[datatype]
    if not low <= value <= high:
        raise _wrong(name, f"got {value}, must be at least {low} and at most {high}")
    return value


def _float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong(name, f"got {value!r}, must be a number")
    number = float(value)
    if not math.isfinite(number) or abs(number) > FP32_MAX:
        raise _wrong(name, f"got {value}, must be a number that fits 32 bits")
    return number


def _wrong(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {problem}", name)
