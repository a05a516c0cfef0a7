# SPDX-License-Identifier: Apache-2.0
"""Lets guided requests on to vLLM when their grammars have been tried."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.engines.guide_trials import GuideTrials, TrialProcess
from llm_ensemble.engines.scheduler import ActiveRequest
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.manifest import TOKENIZER

TRIAL = "llm_ensemble.engines.vllm.guides.trial"
TRIAL_SECONDS = 10.0


class GuideGate:
    """Calls start((request, vLLM's parameters)) or, of a guide that fails its trial, refuse(request, error).

    Both in any thread.
    """

    def __init__(
        self,
        engine_dir: Path,
        start: Callable[[tuple[ActiveRequest, Any]], None],
        refuse: Callable[[ActiveRequest, RequestError | EngineError], None],
    ) -> None:
        self._start, self._refuse = start, refuse
        process = TrialProcess(TRIAL, engine_dir / TOKENIZER / "tokenizer.json", TRIAL_SECONDS)
        self._trials = GuideTrials(process)

    def add(self, active: ActiveRequest, params: Any) -> None:
        """Start a request now, or when its guide has been tried."""
        sampling = active.request.sampling
        if sampling.guide is None:
            self._start((active, params))
            return
        end_id = sampling.end_ids[0] if sampling.end_ids else 0  # which token it is costs no time
        self._trials.submit(
            grammar_of(sampling.guide), end_id, functools.partial(self._on_tried, active, params)
        )

    def close(self) -> None:
        """End the trials."""
        self._trials.close()

    def _on_tried(self, active: ActiveRequest, params: Any, problem: str | EngineError) -> None:
        guide = active.request.sampling.guide
        assert guide
        if not problem:
            self._start((active, params))
        elif isinstance(problem, str):
            self._refuse(active, guide.refusal(f"{problem} (the vllm engine)"))
        else:
            self._refuse(active, problem)
