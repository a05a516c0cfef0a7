# SPDX-License-Identifier: Apache-2.0
"""A guide as vLLM's StructuredOutputsParams, checked by what compiles it: xgrammar.

Of vLLM's backends xgrammar is set by name. It reads the grammars that OpenVINO's and TensorRT-LLM's engines
read, where guidance has Lark's and ends a text early, as if it were complete, when a guide becomes too
complex for it. With vLLM's default, `auto`, the first request's backend compiles what another was checked by.

Each guide is the grammar that preprocessing has made and checked (contract/guides), so that all engines obey
the same parts of a schema. vLLM compiles in its engine core, where an error in 0.23.0 ends the engine. So the
check here is that of the compiler.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.manifest import ENGINE, TOKENIZER

BACKEND = "xgrammar"


@contextlib.contextmanager
def tokenizer_folder(engine_dir: Path) -> Iterator[Path]:
    """Make a folder of links to the tokenizer and the model's config, for as long as vLLM loads.

    vLLM looks for a config beside a tokenizer and, if there is none, once more after two seconds; that twice.
    """
    with tempfile.TemporaryDirectory(prefix="vllm-tokenizer-") as name:
        folder = Path(name)
        for path in (*(engine_dir / TOKENIZER).iterdir(), engine_dir / ENGINE / "config.json"):
            (folder / path.name).symlink_to(path.resolve())
        yield folder


def guides_config() -> Any:
    """Return vLLM's StructuredOutputsConfig."""
    from vllm.config import StructuredOutputsConfig

    return StructuredOutputsConfig(backend=BACKEND)


def structured_outputs(guide: Guide) -> Any:
    """Return the guide as vLLM's. Raise RequestError for one that cannot be compiled or obeyed."""
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams
    from vllm.v1.structured_output.backend_xgrammar import validate_xgrammar_grammar

    params = StructuredOutputsParams(grammar=grammar_of(guide))
    try:
        validate_xgrammar_grammar(SamplingParams(structured_outputs=params))
    except Exception as error:
        raise guide.refusal(f"{_problem(error)} (the vllm engine)") from error
    return params


def _problem(error: Exception) -> str:
    """Return what xgrammar says, without the time and the place in its source."""
    last = str(error.__cause__ or error).strip().splitlines()[-1]
    return last.rpartition(".cc:")[2].partition(": ")[2] or last
