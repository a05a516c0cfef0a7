# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's ContinuousBatchingPipeline as an engine: any CPU, in-flight batching, paged KV cache.

The code relies on these facts, observed with openvino-genai 2026.4.1:
- a handle that is dropped drops its request, so open handles are kept;
- a read after each step returns that step's ids; an end token comes as the last id, with finish STOP;
- of several sequences nothing can be read before all have ended; a beam search then returns all its beams,
  whatever num_return_sequences says, unordered, with finished ones scored for length;
- log probabilities are the model's own, before penalties, temperature and filters;
- presence and frequency penalties are added to negative logits instead of subtracted, which makes unlikely
  tokens likelier (these fields are rejected; a test fails once a release has corrected it);
- cancel() takes effect in the next step, which must be run for it, and may leave an empty read behind;
- a request that does not fit the KV cache ends with status IGNORED and nothing to read;
- max_num_seqs does not limit the batch when prompts are split (dynamic_split_fuse, the default): 37
  requests ran with 32 allowed. So the scheduler here decides which requests run;
- step() holds the GIL, so the thread that steps must release it between steps.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.engines.openvino.pipeline import (
    check_sampling,
    generation_config,
    kv_blocks,
    load_pipeline,
    max_prefill_only,
    read_tokens,
    uses_prefix_cache,
)
from llm_ensemble.engines.openvino.prefill import PrefillTracker
from llm_ensemble.engines.openvino.prefix_gate import PrefixGate
from llm_ensemble.engines.protocol import EngineStats, GenerationRequest, OnTokens
from llm_ensemble.engines.scheduler import ActiveRequest, Scheduler
from llm_ensemble.errors import EngineError
from llm_ensemble.manifest import ENGINE, Manifest

log = logging.getLogger(__name__)


class OpenVinoEngine:
    """One pipeline and the one thread that drives it; submit and abort only wake that thread."""

    def __init__(self, engine_dir: Path, manifest: Manifest, max_waiting: int) -> None:
        limits = manifest.limits
        self._pipeline = load_pipeline(engine_dir / ENGINE, manifest)
        self._uses_prefix_cache = uses_prefix_cache(engine_dir / ENGINE, manifest)
        self._prefill = PrefillTracker(limits.max_num_tokens)
        self._gate = PrefixGate(
            limits, kv_blocks(engine_dir / ENGINE, manifest), is_open=not self._uses_prefix_cache
        )
        self._max_prefill_only = max_prefill_only(limits)
        self._kv_cache_usage = 0.0
        self._wake = threading.Event()
        self._scheduler = Scheduler(limits.max_batch_size, max_waiting, on_abort=lambda _: self._wake.set())
        self._running: list[ActiveRequest] = []
        # Aborted requests without slots whose prefill must complete (see prefill.py).
        self._prefill_only: list[ActiveRequest] = []
        self._thread = threading.Thread(target=self._run, name="openvino-engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        check_sampling(request.sampling)
        self._scheduler.add(request, on_tokens)
        self._wake.set()

    def abort(self, stream_id: int) -> None:
        """End a request early (see Engine.abort)."""
        self._scheduler.abort(stream_id)

    @property
    def failed(self) -> bool:
        """Whether the engine is dead (see Engine.failed)."""
        return self._scheduler.failed

    def stats(self) -> EngineStats:
        """Return the load; kv_cache_usage is as of the last step."""
        return EngineStats(*self._scheduler.load, self._kv_cache_usage)

    def close(self) -> None:
        """End every open request, stop the thread, free the pipeline."""
        self._scheduler.close()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        """Remove aborted requests, add scheduled ones, step, deliver; until closed or failed."""
        try:
            while self._wait_for_work():
                self._remove_aborted()
                self._add_scheduled()
                self._pipeline.step()
                self._count_step()
                self._remove_prefilled()
                self._deliver()
                time.sleep(0)  # releases the GIL, which step() never does
            self._cancel_all()
        except Exception as error:
            self._scheduler.fail("its pipeline raised an exception", error)

    def _wait_for_work(self) -> bool:
        """Block while there is nothing to do; return False once the scheduler is closed."""
        while not (self._scheduler.closed or self._scheduler.requests or self._prefill_only):
            self._wake.wait()
            self._wake.clear()
        return not self._scheduler.closed

    def _count_step(self) -> None:
        sequences = sum(active.width for active in [*self._running, *self._prefill_only])
        self._gate.step(self._prefill, sequences)
        self._prefill.step(sequences)

    def _remove_aborted(self) -> None:
        for active in self._scheduler.requests:
            if not active.aborted:
                continue
            if not active.handle:
                self._gate.remove(active)
                self._scheduler.finish(active)
            elif not self._prefill.is_incomplete(active):
                active.handle.cancel()
            elif len(self._prefill_only) < self._max_prefill_only:
                self._running.remove(active)
                self._prefill_only.append(active)
                self._scheduler.finish(active)

    def _remove_prefilled(self) -> None:
        """Cancel the aborted requests whose prefill is complete now."""
        for active in [*self._prefill_only]:
            if active.handle.can_read() or not self._prefill.is_incomplete(active):
                active.handle.cancel()
                self._prefill.remove(active)
                self._gate.remove(active)
                self._prefill_only.remove(active)

    def _add_scheduled(self) -> None:
        while active := self._scheduler.schedule():
            self._gate.put(active)
        for active in self._gate.enter():
            try:
                active.handle = self._add(active.request)
            except Exception as error:  # the pipeline refused this one request
                self._gate.remove(active)
                log.exception("request %s was refused by the pipeline", active.request.label)
                self._scheduler.finish(active, EngineError(f"the engine refused the request: {error}"))
                continue
            self._running.append(active)
            if self._uses_prefix_cache:
                self._prefill.add(active)

    def _add(self, request: GenerationRequest) -> genai.GenerationHandle:
        input_ids = ov.Tensor(np.array([request.input_ids], dtype=np.int64))
        return self._pipeline.add_request(request.stream_id, input_ids, generation_config(request.sampling))

    def _deliver(self) -> None:
        for active in [*self._running]:
            self._deliver_one(active, active.handle)
            if active.finished:
                self._running.remove(active)
                self._prefill.remove(active)
                self._gate.remove(active)
        self._kv_cache_usage = self._pipeline.get_metrics().cache_usage / 100

    def _deliver_one(self, active: ActiveRequest, handle: genai.GenerationHandle) -> None:
        outputs = handle.read() if handle.can_read() else {}
        if outputs:
            self._prefill.remove(active)
            self._scheduler.deliver(active, read_tokens(outputs, active.request.sampling))
        elif handle.get_status() != genai.GenerationStatus.RUNNING:  # else it is in prefill
            error = None if active.aborted else EngineError("the KV cache has no room for the request")
            self._scheduler.finish(active, error)

    def _cancel_all(self) -> None:
        for active in [*self._running, *self._prefill_only]:
            active.handle.cancel()
        self._pipeline.step()  # frees what was cancelled
