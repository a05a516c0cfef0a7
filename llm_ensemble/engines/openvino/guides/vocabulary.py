# SPDX-License-Identifier: Apache-2.0
"""The vocabulary for OpenVINO GenAI's grammars, and a model without weights that compiles them.

Observed with 2026.4.1: xgrammar gets its vocabulary from the detokenizer model, from the constants 1 to 3 of
the node that is named VocabDecoder, and nothing else of that model is used where only ids are passed. So it
is made here of tokenizer.json, exactly, and engine directories need no files for it. A token without bytes is
never allowed within a grammar: special tokens have none here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from tokenizers import Tokenizer

from llm_ensemble.contract.token_bytes import TokenBytes


def write_vocabulary(tokenizer_json: Path, folder: Path) -> None:
    """Write to a folder what GenAI's Tokenizer reads the vocabulary from, and the compiling model."""
    vocabulary = TokenBytes(Tokenizer.from_file(str(tokenizer_json))).vocabulary()
    ov.save_model(_detokenizer(vocabulary), folder / "openvino_detokenizer.xml", compress_to_fp16=False)
    ov.save_model(_equal_logits(len(vocabulary)), folder / "openvino_model.xml", compress_to_fp16=False)
    for name in ("config.json", "generation_config.json"):
        (folder / name).write_text("{}")


def _detokenizer(vocabulary: list[bytes]) -> ov.Model:
    ends = np.cumsum([len(token) for token in vocabulary], dtype=np.int64)
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    text = np.frombuffer(b"".join(vocabulary), dtype=np.uint8).astype(np.int64)
    ids = ops.parameter([-1, -1], dtype=np.int64, name="ids")
    flat = ops.reshape(ids, ops.constant(np.array([-1], np.int64)), False)
    decoder = ops.concat([flat, *map(ops.constant, (begins, ends, text))], 0)
    decoder.set_friendly_name("VocabDecoder")
    return ov.Model([ops.result(decoder.output(0))], [ids], "vocabulary")


def _equal_logits(vocabulary: int) -> ov.Model:
    """Return a model that finds every token equally probable, for GenAI's LLMPipeline."""
    shapes = {"input_ids": [-1, -1], "attention_mask": [-1, -1], "position_ids": [-1, -1], "beam_idx": [-1]}
    inputs = []
    for name, shape in shapes.items():
        inputs.append(ops.parameter(shape, dtype=np.int32 if name == "beam_idx" else np.int64, name=name))
        inputs[-1].output(0).set_names({name})
    size = ops.concat([ops.shape_of(inputs[0]), ops.constant(np.array([vocabulary], np.int64))], 0)
    logits = ops.result(ops.broadcast(ops.constant(np.float32(0)), size).output(0))
    logits.output(0).set_names({"logits"})
    return ov.Model([logits], inputs, "equal logits")
