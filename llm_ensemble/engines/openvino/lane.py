# SPDX-License-Identifier: Apache-2.0
"""A lane: one pipeline, and the requests that are in it or wait for its prefix gate.

One lane has the model as it is; each adapter in memory has a lane of its own (lanes.py). All of a lane's
methods are called by the engine's one thread.
"""

from __future__ import annotations

import logging

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.engines.draft import DraftTokens
from llm_ensemble.engines.openvino.guides.waiting import GuideQueue
from llm_ensemble.engines.openvino.kv_cache import BLOCK, max_prefill_only
from llm_ensemble.engines.openvino.prefill import PrefillTracker
from llm_ensemble.engines.openvino.prefix_gate import PrefixGate
from llm_ensemble.engines.openvino.sampling import generation_config, read_tokens
from llm_ensemble.engines.openvino.settings import PLAIN, OpenVinoSettings
from llm_ensemble.engines.openvino.speculation import Acceptance, WholePrompts, assist
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.engines.scheduler import ActiveRequest, Scheduler
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.manifest import Limits

log = logging.getLogger(__name__)


class Lane:
    """Adds requests to a pipeline, steps it, delivers what was generated, removes what was aborted.

    blocks: of the pipeline's KV cache. guides: where guided requests wait. draft_tokens: counts proposed
    tokens.
    """

    def __init__(
        self,
        pipeline: genai.ContinuousBatchingPipeline,
        limits: Limits,
        scheduler: Scheduler,
        blocks: int,
        guides: GuideQueue,
        *,
        uses_prefix_cache: bool,
        settings: OpenVinoSettings = PLAIN,
        draft_tokens: DraftTokens | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._scheduler = scheduler
        self._guides = guides
        self._uses_prefix_cache = uses_prefix_cache
        self._prefill = PrefillTracker(limits.max_num_tokens)
        self._settings = settings
        self._acceptance = Acceptance(draft_tokens or DraftTokens(settings), settings)
        self._gate: PrefixGate | WholePrompts
        if settings.is_speculative:
            self._gate = WholePrompts(limits, blocks, BLOCK, settings)
        else:
            self._gate = PrefixGate(limits, blocks, is_open=not uses_prefix_cache)
        self.max_prefill_only = max_prefill_only(limits)
        self.kv_cache_usage = 0.0
        self._open: dict[ActiveRequest, None] = {}  # those that have not ended, a set in their order
        self._running: list[ActiveRequest] = []
        # Aborted requests without slots whose prefill must complete (see prefill.py).
        self._prefill_only: list[ActiveRequest] = []
        # The last tokens of requests that have come to an end token that the pipeline does not know as one.
        self._ended: dict[ActiveRequest, list[Tokens]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a call of step() is needed."""
        return bool(self._open or self._prefill_only)

    def put(self, active: ActiveRequest) -> None:
        """Take a request that has its slots."""
        self._open[active] = None
        (self._guides if active.request.sampling.guide else self._gate).put(active)

    def step(self) -> bool:
        """Remove what was aborted, add what may enter, compute a step, deliver.

        Return whether there was something to compute: while all wait for their guides, nothing is.
        """
        self._remove_aborted()
        self._add_entering()
        if not (self._running or self._prefill_only):
            self._guides.release(self._is_before_first_token)
            return False
        self._pipeline.step()
        self._count_step()
        self._remove_prefilled()
        self._deliver()
        self._guides.release(self._is_before_first_token)
        return True

    def close(self) -> None:
        """Let other lanes' guides be compiled."""
        self._guides.close()

    def cancel_all(self) -> None:
        """Cancel what is in the pipeline, without a word to anyone."""
        for active in [*self._running, *self._prefill_only]:
            active.handle.cancel()
        self._pipeline.step()  # frees what was cancelled

    def _count_step(self) -> None:
        sequences = sum(active.width for active in [*self._running, *self._prefill_only])
        self._gate.step(self._prefill, sequences)
        self._prefill.step(sequences)

    def _remove_aborted(self) -> None:
        for active in [*self._open]:
            if not active.aborted:
                continue
            if not active.handle:
                self._gate.remove(active)
                self._end(active)
            elif not self._prefill.is_incomplete(active):
                active.handle.cancel()
            elif len(self._prefill_only) < self.max_prefill_only:
                self._running.remove(active)
                self._prefill_only.append(active)
                self._end(active)

    def _remove_prefilled(self) -> None:
        """Cancel the aborted requests whose prefill is complete now."""
        for active in [*self._prefill_only]:
            if active.handle.can_read() or not self._prefill.is_incomplete(active):
                active.handle.cancel()
                self._prefill.remove(active)
                self._gate.remove(active)
                self._prefill_only.remove(active)

    def _is_before_first_token(self, active: ActiveRequest) -> bool:
        """Return whether the pipeline may still have to begin with a request's guide."""
        if active.finished or not active.handle:
            return active in self._prefill_only or not active.finished
        return self._prefill.is_incomplete(active) or not self._uses_prefix_cache

    def _add_entering(self) -> None:
        for active, error in self._guides.compiled():
            if error:
                self._end(active, error)
            elif not active.finished:
                self._gate.put(active)
        for active in self._gate.enter():
            try:
                active.handle = self._add(active.request)
            except Exception as error:  # the pipeline refused this one request
                self._gate.remove(active)
                log.exception("request %s was refused by the pipeline", active.request.label)
                self._end(active, EngineError(f"the engine refused the request: {error}"))
                continue
            self._running.append(active)
            if self._uses_prefix_cache:
                self._prefill.add(active)

    def _add(self, request: GenerationRequest) -> genai.GenerationHandle:
        input_ids = ov.Tensor(np.array([request.input_ids], dtype=np.int64))
        config = generation_config(request.sampling)
        if self._settings.is_speculative:
            assist(config)
        return self._pipeline.add_request(request.stream_id, input_ids, config)

    def _deliver(self) -> None:
        for active in [*self._running]:
            self._deliver_one(active, active.handle)
            if active.finished:
                self._open.pop(active, None)
                self._running.remove(active)
                self._prefill.remove(active)
                self._gate.remove(active)
                self._acceptance.remove(active)
        self.kv_cache_usage = self._pipeline.get_metrics().cache_usage / 100

    def _deliver_one(self, active: ActiveRequest, handle: genai.GenerationHandle) -> None:
        outputs = handle.read() if handle.can_read() else {}
        if active in self._ended:  # a step ago, which has taken it out of the pipeline: its slots are free
            self._scheduler.deliver(active, self._ended.pop(active))
        elif outputs:
            self._prefill.remove(active)
            self._guides.has_begun(active)
            if self._settings.is_speculative:
                self._acceptance.count(active, sum(len(one.generated_ids) for one in outputs.values()))
            tokens = read_tokens(outputs, active.request.sampling)
            if handle.get_status() == genai.GenerationStatus.RUNNING and all(one.finish for one in tokens):
                handle.cancel()
                self._ended[active] = tokens
            else:
                self._scheduler.deliver(active, tokens)
        elif handle.get_status() != genai.GenerationStatus.RUNNING:  # else it is in prefill
            error = None if active.aborted else EngineError("the KV cache has no room for the request")
            self._scheduler.finish(active, error)

    def _end(self, active: ActiveRequest, error: EngineError | RequestError | None = None) -> None:
        self._open.pop(active, None)
        self._scheduler.finish(active, error)
