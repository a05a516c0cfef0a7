# SPDX-License-Identifier: Apache-2.0
"""The guided requests between the scheduler and the pipeline: their guides are compiled meanwhile."""

from __future__ import annotations

import functools
import queue
from collections.abc import Callable, Iterator

from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.engines.openvino.guides.compiler import GuideCompiler
from llm_ensemble.engines.scheduler import ActiveRequest
from llm_ensemble.errors import EngineError, RequestError

Compiled = tuple[ActiveRequest, RequestError | EngineError | None]


class GuideQueue:
    """Lets guided requests into the pipeline when their guides are compiled and no other is being compiled.

    For the engine's thread, except `wake`, which is called in any when there may be something to do.
    """

    def __init__(self, compiler: GuideCompiler, wake: Callable[[], None]) -> None:
        self._compiler, self._wake = compiler, wake
        self._done: queue.SimpleQueue[Compiled] = queue.SimpleQueue()
        self._ready: list[ActiveRequest] = []
        self._entered: list[ActiveRequest] = []  # the pipeline has not begun with the guides of these
        self._has_turn = False

    def put(self, active: ActiveRequest) -> None:
        """Let a request wait for its guide."""
        sampling = active.request.sampling
        assert sampling.guide
        self._compiler.compile(
            grammar_of(sampling.guide), sampling.end_ids[0], functools.partial(self._on_done, active)
        )

    def compiled(self) -> Iterator[Compiled]:
        """Yield the requests that may enter the pipeline, and those that are refused, with the error."""
        while not self._done.empty():
            active, error = self._done.get()
            if error:
                yield active, error
            else:
                self._ready.append(active)
        self._ready = [active for active in self._ready if not active.finished]
        if not self._ready or not self._take_turn():
            return
        self._entered += self._ready
        ready, self._ready = self._ready, []
        yield from ((active, None) for active in ready)

    def has_begun(self, active: ActiveRequest) -> None:
        """Note that the pipeline has generated for a request, guided or not."""
        if active in self._entered:
            self._entered.remove(active)

    def release(self, is_before: Callable[[ActiveRequest], bool]) -> None:
        """Let guides be compiled again, once the pipeline has begun with all that entered."""
        if self._has_turn:
            self._entered = [active for active in self._entered if is_before(active)]
            if not self._entered:
                self._has_turn = False
                self._compiler.turn.release()

    def close(self) -> None:
        """Let others compile. Called after the engine's thread has ended."""
        if self._has_turn:
            self._compiler.turn.release()

    def _take_turn(self) -> bool:
        self._has_turn = self._has_turn or self._compiler.turn.acquire(blocking=False)
        return self._has_turn

    def _on_done(self, active: ActiveRequest, problem: str | EngineError) -> None:
        guide = active.request.sampling.guide
        assert guide
        error = guide.refusal(problem) if isinstance(problem, str) and problem else problem or None
        self._done.put((active, error))
        self._wake()
