# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of NVIDIA's ensemble that are not served, and what to do instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_ensemble.errors import RequestError


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
_NO_LORA = "an adapter does not come with a request; put it into LORA_DIR and send lora_name or lora_task_id"
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
    "lora_weights": Unserved("FP16", (-1, -1), (), _NO_LORA),
    "lora_config": Unserved("INT32", (-1, 3), (), _NO_LORA),
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
