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
- until min_new_tokens end tokens have a logit of -inf, which is how others are forbidden;
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

import openvino_genai as genai

from llm_ensemble.engines.draft import DraftTokens
from llm_ensemble.engines.openvino.guides.compiler import GuideCompiler
from llm_ensemble.engines.openvino.guides.waiting import GuideQueue
from llm_ensemble.engines.openvino.kv_cache import adapters_in_memory, kv_blocks, uses_prefix_cache
from llm_ensemble.engines.openvino.lane import Lane
from llm_ensemble.engines.openvino.lanes import Lanes
from llm_ensemble.engines.openvino.pipeline import load_adapter, load_pipeline
from llm_ensemble.engines.openvino.sampling import check_sampling
from llm_ensemble.engines.openvino.settings import PLAIN, OpenVinoSettings
from llm_ensemble.engines.protocol import EngineStats, GenerationRequest, OnTokens
from llm_ensemble.engines.scheduler import Scheduler
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.manifest import ENGINE, TOKENIZER, Manifest

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.05  # between two looks at the open requests while all wait for their guides


class OpenVinoEngine:
    """Pipelines (lanes.py) and the one thread that drives them; submit and abort only wake that thread."""

    def __init__(
        self,
        engine_dir: Path,
        manifest: Manifest,
        max_waiting: int,
        settings: OpenVinoSettings = PLAIN,
        adapters: Adapters | None = None,
    ) -> None:
        """Load the model, and as many adapters as may be in memory.

        Raise EngineDirectoryError. adapters: those that fit the model (kind.py checks it).
        """
        self._folder, self._manifest = engine_dir / ENGINE, manifest
        self._settings = settings
        self._draft_tokens = DraftTokens(settings)
        self._adapters = adapters or Adapters()
        in_memory = adapters_in_memory(self._folder, self._adapters)
        self._pipelines = 1 + in_memory
        self._wake = threading.Event()
        self._guides = GuideCompiler(engine_dir / TOKENIZER / "tokenizer.json")
        self._scheduler = Scheduler(
            manifest.limits.max_batch_size, max_waiting, on_abort=lambda _: self._wake.set()
        )
        try:
            self._lanes = self._load_lanes(in_memory)
        except Exception:
            self._guides.close()
            raise
        self._thread = threading.Thread(target=self._run, name="openvino-engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit). Its guide is compiled when it has its slots."""
        check_sampling(request.sampling, self._settings)
        self._adapters.check(request.sampling)
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
        """Return the load; kv_cache_usage is as of the last step, that of the fullest lane."""
        usage = max(lane.kv_cache_usage for lane in self._lanes)
        return EngineStats(*self._scheduler.load, usage, *self._draft_tokens.totals)

    def close(self) -> None:
        """End every open request, stop the thread, free the pipelines."""
        self._scheduler.close()
        self._wake.set()
        self._thread.join()
        for lane in self._lanes:
            lane.close()
        self._guides.close()

    def _run(self) -> None:
        """Give scheduled requests their lanes and step these in turn; until closed or failed."""
        try:
            while not self._scheduler.closed:
                self._add_scheduled()
                if not (busy := self._lanes.busy):
                    self._wake.wait()
                    self._wake.clear()
                has_stepped = False
                for lane in busy:
                    has_stepped |= lane.step()
                    time.sleep(0)  # releases the GIL, which step() never does
                if busy and not has_stepped:
                    self._wake.wait(IDLE_SECONDS)
                    self._wake.clear()
            for lane in self._lanes:
                lane.cancel_all()
        except Exception as error:
            self._scheduler.fail("its pipeline raised an exception", error)

    def _add_scheduled(self) -> None:
        for waiting in self._scheduler.requests:
            if waiting.aborted and not waiting.scheduled:
                self._scheduler.finish(waiting)
        while active := self._scheduler.schedule():
            self._lanes.put(active)
        self._lanes.assign()

    def _load_lanes(self, in_memory: int) -> Lanes:
        lanes = Lanes(self._lane(), in_memory, self._load_adapter, self._scheduler, self._wake.set)
        for name in [*self._adapters.by_name][:in_memory]:
            lanes.load_now(name)
        return lanes

    def _load_adapter(self, name: str) -> Lane:
        return self._lane(load_adapter(self._adapters.by_name[name]))

    def _lane(self, adapter: genai.AdapterConfig | None = None) -> Lane:
        sizes = (self._folder, self._manifest, self._settings, self._pipelines)
        return Lane(
            load_pipeline(*sizes, adapter, self._guides.tokenizer),
            self._manifest.limits,
            self._scheduler,
            kv_blocks(*sizes),
            GuideQueue(self._guides, self._wake.set),
            uses_prefix_cache=uses_prefix_cache(*sizes),
            settings=self._settings,
            draft_tokens=self._draft_tokens,
        )
