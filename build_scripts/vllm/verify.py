# SPDX-License-Identifier: Apache-2.0
"""Load the built engine as a server does, and let it generate (stage "verify").

Where vLLM is missing, or the GPUs that it was built for, this cannot be done, and a build says so: it needs
neither, since nothing is converted.
"""

from __future__ import annotations

import dataclasses
import os
import queue
from collections.abc import Mapping
from pathlib import Path

from build_scripts.errors import BuildError, CommandFailed
from build_scripts.vllm.installed import CPU_BUILD, VLLM
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.gpu_inventory import find_gpus, visible
from llm_ensemble.engines.kinds import load_engine, read_engine_settings
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.engines.tensorrt_llm.installed import installed
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import read_settings

NEW_TOKENS = 8
SECONDS = 600  # the first step compiles kernels


def obstacle(gpus: int) -> str | None:
    """Return why an engine for so many GPUs cannot be loaded here; None if it can."""
    if not installed(*VLLM):
        return "vLLM is not installed here"
    if installed(CPU_BUILD):
        return None
    seen = len(visible(find_gpus()))
    return None if seen >= gpus else f"{seen} of {gpus} GPU(s) can be seen here"


def verify(
    folder: Path, manifest: Manifest, token_ids: list[int], environ: Mapping[str, str] = os.environ
) -> list[int]:
    """Load the engine and continue the prompt greedily; return the new ids. Raise BuildError if it cannot.

    environ: has the engine's settings, which are those of a server (GPU_MEMORY_FRACTION, CUDA_GRAPHS).
    """
    room = min(NEW_TOKENS, manifest.limits.max_seq_len - 1)
    prompt = token_ids[: min(manifest.limits.max_input_len, manifest.limits.max_seq_len - room)]
    answers: queue.Queue[Tokens] = queue.Queue()
    try:
        kind_settings = read_engine_settings(manifest.engine, environ)
        settings = dataclasses.replace(read_settings({}), engine_dir=folder.absolute(), engine=kind_settings)
        engine = load_engine(manifest, settings)
    except SettingError as error:
        raise BuildError(str(error)) from error
    except EngineDirectoryError as error:
        raise CommandFailed(f"the engine cannot be loaded: {error.__cause__ or error}") from error
    try:
        engine.submit(GenerationRequest(0, prompt, Sampling(max_tokens=room)), answers.put)
        return new_ids(answers, room)
    finally:
        engine.close()


def new_ids(answers: queue.Queue[Tokens], room: int) -> list[int]:
    """Return the ids of the one sequence. Raise BuildError unless there are as many as were asked for."""
    ids: list[int] = []
    while True:
        try:
            tokens = answers.get(timeout=SECONDS)
        except queue.Empty:
            raise BuildError(f"the engine was loaded and generated nothing for {SECONDS} s") from None
        if tokens.error:
            raise BuildError(f"the engine was loaded and cannot generate: {tokens.error}")
        ids += tokens.token_ids
        if tokens.finish:
            break
    if len(ids) != room:
        raise BuildError(f"the engine was asked for {room} tokens and generated {len(ids)}: {tokens.finish}")
    return ids
