# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's ContinuousBatchingPipeline as an engine: any CPU, in-flight batching, paged KV cache.

Facts seen on openvino-genai 2026.4.1, which the code rests on:
- a handle that is dropped drops its request, so open handles are kept;
- a read after each step gives that step's ids; an end token comes as the last id, with finish STOP;
- of several sequences nothing can be read before all have ended; a beam search then gives all its beams,
  however many were to be returned, in no order, with finished ones scored for length;
- log probabilities are the model's own, before penalties, temperature and filters;
- presence and frequency penalties are added to negative logits instead of taken from them, so that what
  has become unlikely is raised (a test shows it; refused until it is repaired);
- cancel() takes effect in the next step, which must be run for it, and may leave an empty read behind;
- a request that does not fit the KV cache ends with status IGNORED and nothing to read;
- max_num_seqs does not bound the batch when prompts are split (dynamic_split_fuse, the default): 37
  requests ran with 32 allowed. So who runs and who waits is decided here;
- step() holds the GIL, so the thread that steps must let others in between steps.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.engines.admission import Admission, Entry
from llm_ensemble.engines.base import EngineStats, GenerationRequest, OnTokens, Tokens
from llm_ensemble.engines.openvino_pipeline import (
    generation_config,
    load_pipeline,
    most_reading_on,
    refuse_what_it_cannot,
    shares_beginnings,
    tokens_of,
)
from llm_ensemble.engines.openvino_prompts import UnreadPrompts
from llm_ensemble.errors import EngineError
from llm_ensemble.manifest import ENGINE, Manifest

log = logging.getLogger(__name__)


class OpenVinoEngine:
    """One pipeline and the one thread that drives it; submit and abort only leave notes for that thread."""

    def __init__(self, engine_dir: Path, manifest: Manifest, max_waiting: int) -> None:
        self._admission = Admission(manifest.limits.max_batch_size, max_waiting)
        self._pipeline = load_pipeline(engine_dir / ENGINE, manifest)
        self._unread = UnreadPrompts(manifest.limits.max_num_tokens)
        self._shares_beginnings = shares_beginnings(engine_dir / ENGINE, manifest)
        self._most_reading_on = most_reading_on(manifest.limits)
        self._reading_on: list[Entry] = []  # who has left, so has no place, but must be read to the end
        self._closed = False
        self._failure: EngineError | None = None
        self._kv_cache_usage = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="openvino-engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        refuse_what_it_cannot(request.sampling)
        with self._changed:
            if self._failure or self._closed:
                raise self._failure or EngineError("the engine is closed")
            self._admission.enter(Entry(request, on_tokens))
            self._changed.notify()

    def abort(self, number: int) -> None:
        """End a request early (see Engine.abort)."""
        with self._changed:
            if entry := self._admission.find(number):
                entry.aborted = True
                self._changed.notify()

    @property
    def failed(self) -> bool:
        """Whether the engine is dead (see Engine.failed)."""
        return self._failure is not None

    def stats(self) -> EngineStats:
        """Read the load; the cache's as of the last step."""
        return EngineStats(self._admission.running, self._admission.waiting, self._kv_cache_usage)

    def close(self) -> None:
        """End every open request, stop the thread, free the pipeline."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """The engine's life: let newcomers in, let leavers out, step, hand out what came."""
        try:
            while self._wait_for_work():
                self._let_leavers_out()
                self._let_newcomers_in()
                self._pipeline.step()
                self._unread.step(self._admission.running + sum(one.width for one in self._reading_on))
                self._let_go_of_read()
                self._deliver()
                time.sleep(0)  # lets go of the GIL, which step() never does
        except Exception:
            log.exception("the engine failed; every open request ends")
            self._failure = EngineError("the engine failed")
        self._end_all()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._admission.entries or self._reading_on or self._closed)
            return not self._closed

    def _let_leavers_out(self) -> None:
        for entry in self._entries():
            if not entry.aborted:
                continue
            if not entry.handle:
                self._end(entry, Tokens([], "cancelled"))
            elif not self._unread.has(entry):
                entry.handle.cancel()
            elif len(self._reading_on) < self._most_reading_on:
                self._reading_on.append(entry)
                self._end(entry, Tokens([], "cancelled"))

    def _let_go_of_read(self) -> None:
        """Cancel those who left while their prompts were read, once they have been."""
        for entry in [*self._reading_on]:
            if entry.handle.can_read() or not self._unread.has(entry):
                entry.handle.cancel()
                self._unread.remove(entry)
                self._reading_on.remove(entry)

    def _let_newcomers_in(self) -> None:
        while entry := self._next():
            try:
                entry.handle = self._add(entry.request)
                if self._shares_beginnings:
                    self._unread.add(entry)
            except Exception as error:  # the pipeline refused this one request
                log.exception("request %s was refused by the pipeline", entry.request.label)
                self._end(entry, Tokens([], error=EngineError(f"the engine refused the request: {error}")))

    def _add(self, request: GenerationRequest) -> genai.GenerationHandle:
        input_ids = ov.Tensor(np.array([request.input_ids], dtype=np.int64))
        return self._pipeline.add_request(request.number, input_ids, generation_config(request.sampling))

    def _deliver(self) -> None:
        for entry in self._entries():
            if entry.handle:
                self._deliver_one(entry, entry.handle)
        self._kv_cache_usage = self._pipeline.get_metrics().cache_usage / 100

    def _deliver_one(self, entry: Entry, handle: genai.GenerationHandle) -> None:
        outputs = handle.read() if handle.can_read() else {}
        if outputs:
            self._unread.remove(entry)
            self._hand_out(entry, tokens_of(outputs, entry.request.sampling))
        elif handle.get_status() != genai.GenerationStatus.RUNNING:  # else its prompt is still being read
            error = None if entry.aborted else EngineError("the KV cache has no room for the request")
            self._end(entry, Tokens([], "" if error else "cancelled", error))

    def _hand_out(self, entry: Entry, news: list[Tokens]) -> None:
        entry.to_end -= sum(bool(tokens.finish) for tokens in news)
        if not entry.to_end:
            self._leave(entry)
        for tokens in news:
            entry.tell(tokens)

    def _end(self, entry: Entry, tokens: Tokens) -> None:
        """End all of a request at once."""
        self._leave(entry)
        entry.tell(tokens)

    def _entries(self) -> list[Entry]:
        with self._changed:
            return self._admission.entries

    def _next(self) -> Entry | None:
        with self._changed:
            return self._admission.next()

    def _leave(self, entry: Entry) -> None:
        if entry not in self._reading_on:
            self._unread.remove(entry)
        with self._changed:
            self._admission.leave(entry)

    def _end_all(self) -> None:
        with self._changed:
            self._closed = True
        for entry in self._reading_on:
            entry.handle.cancel()
        for entry in self._entries():
            if entry.handle:
                entry.handle.cancel()
            self._end(entry, Tokens([], "" if self._failure else "cancelled", self._failure))
        if not self._failure:
            self._pipeline.step()  # the pipeline lets go of what was cancelled
