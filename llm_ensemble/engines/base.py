# SPDX-License-Identifier: Apache-2.0
"""The engine protocol: token ids in, token ids out. Knows no text and no Triton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from llm_ensemble.engines.gpus import claim_gpus
from llm_ensemble.errors import EngineDirectoryError, EngineError
from llm_ensemble.manifest import Manifest
from llm_ensemble.sampling import Sampling
from llm_ensemble.settings import (
    Settings,
    read_gpu_settings,
    read_pace_settings,
    refuse_gpu_settings,
    refuse_pace_settings,
)


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt to continue. number is the caller's, unique among the open ones; label is for the log.

    let_in: to be called once the request has a place in the engine's batch; it only takes a note.
    """

    number: int
    input_ids: list[int]
    sampling: Sampling
    label: str = ""
    let_in: Callable[[], None] = lambda: None


class Tokens(msgspec.Struct, frozen=True):  # one a token: a dataclass would take three times as long to make
    """What one engine step gave one sequence of a request: new ids (no end token among them).

    finish is "" until the sequence's last one, then stop or length. cancelled, or an error when the
    engine could not go on, end all sequences of the request.
    index: which sequence, 0 to num_return_sequences - 1. log_probs: natural logarithms, one an id, from the
    model's own distribution (before penalties, temperature and filters) when the request asked for them.
    """

    token_ids: list[int]
    finish: str = ""
    error: EngineError | None = None
    index: int = 0
    log_probs: list[float] = []


@dataclass(frozen=True)
class EngineStats:
    """Sequences running and waiting now; part of the KV cache in use, 0 to 1."""

    running: int
    waiting: int
    kv_cache_usage: float


OnTokens = Callable[[Tokens], None]


class Engine(Protocol):
    """A running engine. Calls come from any thread; on_tokens is called from the engine's own."""

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request; on_tokens is called until, and not after, every sequence has ended.

        Raises RequestError naming a field the engine cannot serve, Overloaded when no more may wait,
        EngineError when the engine is closed or dead.
        """

    def abort(self, number: int) -> None:
        """End a request early, with finish cancelled; an unknown or ended one is left alone."""

    @property
    def failed(self) -> bool:
        """Whether the engine is dead: every request it had has ended, and it will take no other."""

    def stats(self) -> EngineStats:
        """Read the load without waiting for a step."""

    def close(self) -> None:
        """End every open request and free the engine. Safe to call twice."""


def load_engine(manifest: Manifest, settings: Settings, instance: int = 0) -> Engine:
    """Load the engine that the manifest names; its library is imported here, not before.

    instance: which of the engine step's instances asks; each has GPUs of its own.
    """
    if manifest.engine == "pace":
        from llm_ensemble.engines.pace import PaceEngine

        refuse_gpu_settings()
        return PaceEngine(manifest, settings.max_waiting, read_pace_settings())
    refuse_pace_settings()
    if manifest.engine == "openvino":
        from llm_ensemble.engines.openvino import OpenVinoEngine

        refuse_gpu_settings()
        return OpenVinoEngine(settings.engine_dir, manifest, settings.max_waiting)
    if manifest.engine == "tensorrt_llm":
        from llm_ensemble.engines.tensorrt_llm import TensorRtLlmEngine

        gpu_settings = read_gpu_settings()
        claim_gpus(gpu_settings, instance)
        return TensorRtLlmEngine(settings.engine_dir, manifest, settings.max_waiting, gpu_settings)
    raise EngineDirectoryError(
        f"{settings.engine_dir} holds a {manifest.engine!r} engine, which this version cannot serve: "
        "build one for openvino or tensorrt_llm"
    )
