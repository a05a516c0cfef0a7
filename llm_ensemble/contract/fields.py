# SPDX-License-Identifier: Apache-2.0
"""The input fields of the contract: name, datatype and range, and the check of one input.

The config.pbtxt files declare the same names to Triton; a contract test compares the two. What depends on
another field or on the engine is checked where both are known: request_fields.py, sampling.py and
preprocessing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_ensemble.errors import RequestError

INT32_MAX = 2**31 - 1
# Words are searched in every piece of text, so their number and length bound the cost of one request.
MAX_WORDS = 64
MAX_WORD_LENGTH = 256
FILL_UP = -1  # max_tokens: as many as fit
MAX_NAME_LENGTH = 64  # characters of an unknown name that a message repeats


@dataclass(frozen=True)
class Field:
    """One input: its Triton datatype and its range; `special`: a value outside of it, and its meaning."""

    datatype: str  # BYTES, INT32, UINT64, FP32 or BOOL
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False  # the range excludes low itself
    many: bool = False  # a list, of words or of token ids
    special: int | None = None
    meaning: str = ""

    @property
    def allowed(self) -> str:
        """The range in words, for error messages."""
        least = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        special = "" if self.special is None else f", or {self.special} for {self.meaning}"
        most = "" if self.high in (math.inf, INT32_MAX) else f" and at most {self.high:g}"
        return f"{least}{most}{special}"


FIELDS: Mapping[str, Field] = {
    "text_input": Field("BYTES"),
    "messages": Field("BYTES"),
    "input_ids": Field("INT32", low=0, high=INT32_MAX, many=True),
    "add_special_tokens": Field("BOOL"),
    "add_generation_prompt": Field("BOOL"),
    "continue_final_message": Field("BOOL"),
    "max_tokens": Field("INT32", low=1, high=INT32_MAX, special=FILL_UP, meaning="as many as fit"),
    "min_tokens": Field("INT32", low=0, high=INT32_MAX),
    "min_length": Field("INT32", low=0, high=INT32_MAX),
    "stream": Field("BOOL"),
    "temperature": Field("FP32", low=0, high=100),
    "top_p": Field("FP32", low=0, high=1),
    "min_p": Field("FP32", low=0, high=1),
    "top_k": Field("INT32", low=-1, high=INT32_MAX),
    "repetition_penalty": Field("FP32", low=0, high=100, open_low=True),
    "presence_penalty": Field("FP32", low=-2, high=2),
    "frequency_penalty": Field("FP32", low=-2, high=2),
    "length_penalty": Field("FP32", low=-10, high=10),
    "seed": Field("UINT64"),
    "random_seed": Field("UINT64"),
    "beam_width": Field("INT32", low=1, high=INT32_MAX),
    "num_return_sequences": Field("INT32", low=1, high=INT32_MAX),
    "stop_words": Field("BYTES", many=True),
    "bad_words": Field("BYTES", many=True),
    "end_id": Field("INT32", low=-1, high=INT32_MAX),
    "pad_id": Field("INT32", low=0, high=INT32_MAX),  # NVIDIA's clients send it; nothing is padded
    "ignore_eos": Field("BOOL"),
    "exclude_input_in_output": Field("BOOL"),
    "return_log_probs": Field("BOOL"),
    "top_log_probs": Field("INT32", low=0, high=20),
    "deadline_ms": Field("INT32", low=1, high=INT32_MAX),
}


@dataclass(frozen=True)
class Unserved:
    """An input of NVIDIA's ensemble whose feature is not served.

    dims: NVIDIA's, without the batch. neutral: values that do not use the feature; an empty tensor is neutral
    too. instead: what to do, for the error message.
    """

    datatype: str
    dims: tuple[int, ...]
    neutral: tuple[object, ...]
    instead: str


_NO_LOGITS = "logits are not returned; return_log_probs gives the log probabilities of the tokens"
_NO_PERFORMANCE = "a request's metrics are not returned; the server's are at /metrics"
_NO_TUNING = "prompt tuning is not served; leave it out"
_NO_BIAS = "no word's probability is raised or lowered; bad_words forbids words"
_NO_LORA = "LoRA adapters are not served; merge the adapter into the checkpoint and build an engine of it"
_NO_GUIDE = "guided decoding is not served; ask for the format in the prompt and check the text"
_NO_IMAGES = "only text is served; send text_input or messages"
_NO_DRAFT = "a request has no draft model; leave it out"

# Of the ensemble and tensorrt_llm_bls in all_models/inflight_batcher_llm/ of tensorrtllm_backend v0.19.0; of
# TensorRT-LLM's own triton_backend/ the two return_num, of v0.16.0 to v0.18.0 return_kv_cache_reuse_stats.
UNSERVED: Mapping[str, Unserved] = {
    "return_num_input_tokens": Unserved("BOOL", (1,), (False, True), "num_input_tokens always comes"),
    "return_num_output_tokens": Unserved("BOOL", (1,), (False, True), "num_output_tokens always comes"),
    "return_context_logits": Unserved("BOOL", (1,), (False,), _NO_LOGITS),
    "return_generation_logits": Unserved("BOOL", (1,), (False,), _NO_LOGITS),
    "return_perf_metrics": Unserved("BOOL", (1,), (False,), _NO_PERFORMANCE),
    "return_kv_cache_reuse_stats": Unserved("BOOL", (1,), (False,), _NO_PERFORMANCE),
    "decoder_text_input": Unserved(
        "BYTES", (1,), (b"",), "the models served have no encoder; send text_input"
    ),
    "prompt_embedding_table": Unserved("FP16", (-1, -1), (), _NO_TUNING),
    "prompt_table_extra_id": Unserved("UINT64", (1,), (0,), _NO_TUNING),
    "prompt_vocab_size": Unserved("INT32", (1,), (0,), _NO_TUNING),
    "embedding_bias_words": Unserved("BYTES", (-1,), (b"",), _NO_BIAS),
    "embedding_bias_weights": Unserved("FP32", (-1,), (0,), _NO_BIAS),
    "lora_task_id": Unserved("UINT64", (1,), (0,), _NO_LORA),
    "lora_weights": Unserved("FP16", (-1, -1), (), _NO_LORA),
    "lora_config": Unserved("INT32", (-1, 3), (), _NO_LORA),
    "guided_decoding_guide_type": Unserved("BYTES", (1,), (b"",), _NO_GUIDE),
    "guided_decoding_guide": Unserved("BYTES", (1,), (b"",), _NO_GUIDE),
    "image_input": Unserved("FP16", (-1, 3, -1, -1), (), _NO_IMAGES),
    "image_bytes_input": Unserved("UINT8", (-1, -1, -1, -1), (), _NO_IMAGES),
    "image_url_input": Unserved("BYTES", (1,), (b"",), _NO_IMAGES),
    "video_bytes_input": Unserved("UINT8", (-1, -1, -1, -1), (), _NO_IMAGES),
    "num_draft_tokens": Unserved("INT32", (1,), (0,), _NO_DRAFT),
    "use_draft_logits": Unserved("BOOL", (1,), (False,), _NO_DRAFT),
}


# Outputs of NVIDIA's ensemble that are never sent, because the inputs that request them are refused.
NEVER_SENT: Mapping[str, str] = {
    **dict.fromkeys(("context_logits", "generation_logits"), _NO_LOGITS),
    **dict.fromkeys(("kv_cache_alloc_new_blocks", "kv_cache_reused_blocks"), _NO_PERFORMANCE),
    **dict.fromkeys(("kv_cache_alloc_total_blocks", "arrival_time_ns"), _NO_PERFORMANCE),
    **dict.fromkeys(
        ("first_scheduled_time_ns", "first_token_time_ns", "last_token_time_ns"), _NO_PERFORMANCE
    ),
    **dict.fromkeys(("acceptance_rate", "total_accepted_draft_tokens", "total_draft_tokens"), _NO_DRAFT),
}


def check_outputs(names: Collection[str]) -> None:
    """Raise RequestError for requested outputs that are never sent.

    names: the requested outputs. Triton lists all of them for a request that names none.
    """
    never = [name for name in NEVER_SENT if name in names]
    if len(never) < len(NEVER_SENT) and never:
        raise RequestError(never[0], NEVER_SENT[never[0]])


def check_unserved(name: str, raw: Iterable[Any]) -> None:
    """Raise RequestError for an input of UNSERVED with a value that is not neutral."""
    if any(value not in UNSERVED[name].neutral for value in raw):
        raise RequestError(name, UNSERVED[name].instead)


def refuse_unknown(name: str) -> RequestError:
    """Return the error for a request parameter: there is no such field, or it must be sent as an input."""
    if name in FIELDS or name in UNSERVED:
        return RequestError(name, "sent as a parameter; send it as an input")
    near = [known for known in FIELDS if len(name) > 2 and known.startswith(name)]  # stop is no top_p
    near += difflib.get_close_matches(name[:MAX_NAME_LENGTH], FIELDS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(FIELDS)}"
    return RequestError(_in_a_line(name), f"unknown field; {advice}")


def _in_a_line(name: str) -> str:
    """Return a client's text as a message may repeat it: short, in one line."""
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:MAX_NAME_LENGTH]
    )
    return (escaped or '""') + ("..." if len(name) > MAX_NAME_LENGTH else "")


def check_field(name: str, raw: list[Any]) -> Any:
    """Return the value of one input: str, int, float, bool, or a list of str or of int.

    raw: the tensor's values as Python objects, BYTES as bytes. Raise RequestError for a wrong number of
    values, encoding or range.
    """
    field = FIELDS[name]
    if field.many:
        return _words(name, raw) if field.datatype == "BYTES" else _ids(name, field, raw)
    if len(raw) != 1:
        raise RequestError(name, f"takes one value, got {len(raw)}")
    if field.datatype == "BYTES":
        return _decode(name, raw[0])
    return _in_range(name, field, raw[0])


def _words(name: str, raw: list[bytes]) -> list[str]:
    """Return the words that are not empty: an empty one has no effect."""
    if len(raw) > MAX_WORDS:
        raise RequestError(name, f"got {len(raw)} strings, at most {MAX_WORDS} are allowed")
    words = [_decode(name, value) for value in raw]
    longest = max(map(len, words), default=0)
    if longest > MAX_WORD_LENGTH:
        raise RequestError(
            name, f"got a string of {longest} characters, at most {MAX_WORD_LENGTH} are allowed"
        )
    return [word for word in words if word]


def _ids(name: str, field: Field, raw: list[int]) -> list[int]:
    if not raw:
        raise RequestError(name, "empty; send at least one token id")
    if min(raw) < field.low:
        raise RequestError(name, f"got {min(raw)}, must be {field.allowed}")
    return raw


def _decode(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(name, f"not UTF-8 (byte {error.start} of {len(value)}); send UTF-8") from error


def _in_range(name: str, field: Field, value: float) -> float:
    # NaN compares false with everything, so the test is for a good value.
    if field.low <= value <= field.high and not (field.open_low and value == field.low):
        return value
    if value == field.special:
        return value
    raise RequestError(name, f"got {_exactly(field, value)}, must be {field.allowed}")


def _exactly(field: Field, value: float) -> str:
    """Return a bad number in few digits, but not so few that it looks good: after 1 FP32 has 1.00000012."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.9g}" if field.low <= float(short) <= field.high else short
