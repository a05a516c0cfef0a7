# SPDX-License-Identifier: Apache-2.0
"""The bare engine as a baseline: the same requests, in this process, without Triton, text or network."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

from benchmarks.bench.record import BenchError, Record, Request
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.kinds import load_engine, read_engine_settings
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.manifest import read_manifest
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from llm_ensemble.settings import Settings

MAX_WAITING = 100_000  # it is the load that decides how many are open


class EngineDriver:
    """Loads the engine; a token costs an append to a list, the event loop hears of a request's end alone."""

    def __init__(self, engine_dir: str) -> None:
        folder = Path(engine_dir)
        self._tokenizer = load_tokenizer(folder)
        manifest = read_manifest(folder)
        settings = Settings(folder, MAX_WAITING, engine=read_engine_settings(manifest.engine))
        self._engine = load_engine(manifest, settings)
        self._numbers = itertools.count(1)
        self._ids: dict[str, list[int]] = {}

    def prepare(self, requests: list[Request]) -> None:
        """Tokenize the prompts, which is not part of an engine's work."""
        prompts = list({request.prompt for request in requests})
        self._ids = dict(zip(prompts, (e.ids for e in self._tokenizer.encode_batch(prompts))))

    async def ask(self, request: Request, record: Record) -> None:
        """See Driver.ask."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def take(tokens: Tokens) -> None:
            record.ended = time.monotonic()
            if tokens.token_ids:
                record.arrivals.append((record.ended, len(tokens.token_ids)))
            if tokens.error or tokens.finish == "cancelled":
                record.error = str(tokens.error or "cancelled")
            if tokens.finish or tokens.error:
                loop.call_soon_threadsafe(over.set)

        ids = self._ids[request.prompt]
        record.input_tokens = len(ids)
        sampling = Sampling(max_tokens=request.output_tokens, end_ids=[])
        number = next(self._numbers)
        self._engine.submit(GenerationRequest(number, ids, sampling), take)
        try:
            await over.wait()
        except asyncio.CancelledError:
            self._engine.abort(number)
            raise
        if record.error:
            raise BenchError(record.error)

    async def close(self) -> None:
        """Close the engine."""
        self._engine.close()
