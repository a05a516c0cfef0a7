# SPDX-License-Identifier: Apache-2.0
"""TensorRT-LLM's LLM class as an engine: NVIDIA GPUs, in-flight batching, built engines and checkpoints.

Facts of TensorRT-LLM 1.2.1, read and not seen, which the code rests on:
- results are asynchronous: they must be asked for while an asyncio loop runs in the same thread, so one
  thread runs a loop and does everything;
- the library queues without limit, so how many may wait is decided here; who runs, it decides itself;
- a prompt must be a list of Python ints, of numpy's it takes none;
- an aborted request ends in an orderly way, with finish cancelled; so does one that has just ended;
- RequestError is one request's misfortune, and after it nothing comes; ValueError is raised before a request
  is queued; any other exception means that the executor has shut itself down, and the LLM with it;
- statistics are those of the last step, however long ago, so running and waiting are counted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path

from llm_ensemble.engines.admission import Admission, Entry
from llm_ensemble.engines.base import EngineStats, GenerationRequest, OnTokens, Tokens
from llm_ensemble.engines.tensorrt_llm_api import (
    Reader,
    has_logits,
    load_llm,
    refuse_what_it_cannot,
    sampling_params,
)
from llm_ensemble.errors import EngineError
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import GpuSettings

log = logging.getLogger(__name__)

STATS_SECONDS = 0.5


class TensorRtLlmEngine:
    """One LLM and the thread whose event loop drives it; submit and abort hand their work to that loop."""

    def __init__(self, engine_dir: Path, manifest: Manifest, max_waiting: int, settings: GpuSettings) -> None:
        self._manifest = manifest
        self._logits = has_logits(engine_dir, manifest)
        self._admission = Admission(manifest.limits.max_batch_size, max_waiting)
        self._lock = threading.Lock()  # of the admission
        self._failure: EngineError | None = None
        self._closed = False
        self._kv_cache_usage = 0.0
        self._llm = load_llm(engine_dir, manifest, settings)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="tensorrt-llm-engine", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._watch_stats(), self._loop)

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        refuse_what_it_cannot(request.sampling, self._manifest, self._logits)
        entry = Entry(request, on_tokens)
        with self._lock:
            if self._failure or self._closed:
                raise self._failure or EngineError("the engine is closed")
            self._admission.enter(entry)
            self._count_running()
            self._loop.call_soon_threadsafe(self._start, entry)

    def abort(self, number: int) -> None:
        """End a request early (see Engine.abort)."""
        with self._lock:
            entry = self._admission.find(number)
            if entry and not self._closed:
                self._loop.call_soon_threadsafe(self._abort, entry)

    @property
    def failed(self) -> bool:
        """Whether the engine is dead (see Engine.failed)."""
        return self._failure is not None

    def stats(self) -> EngineStats:
        """Read the load; the cache's as of the last second."""
        with self._lock:
            running, waiting = self._admission.running, self._admission.waiting
        return EngineStats(running, waiting, self._kv_cache_usage if running else 0.0)

    def close(self) -> None:
        """End every open request, stop the thread, free the GPUs."""
        with self._lock:
            self._closed = True
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._leave_all(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._llm.shutdown()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _start(self, entry: Entry) -> None:
        task = self._loop.create_task(self._serve(entry))
        self._tasks.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, entry: Entry) -> None:
        """One request from start to end."""
        try:
            await self._follow(entry)
        except Exception as error:
            self._fail(entry, error)

    async def _follow(self, entry: Entry) -> None:
        sampling = entry.request.sampling
        if entry.aborted:
            self._end(entry, Tokens([], "cancelled"))
            return
        entry.handle = self._llm.generate_async(
            inputs=entry.request.input_ids,
            sampling_params=sampling_params(sampling),
            streaming=sampling.beam_width == 1,  # each response of a beam search has all of every beam
        )
        reader = Reader(sampling)
        async for output in entry.handle:
            if entry.to_end:  # else the engine died, of which it has been told
                self._hand_out(entry, reader.read(output))
            if not entry.to_end:
                return
        self._end(entry, Tokens([], "cancelled"))

    def _hand_out(self, entry: Entry, news: list[Tokens]) -> None:
        if any(tokens.finish == "cancelled" for tokens in news):
            return  # the iteration ends next, and with it all sequences
        entry.to_end -= sum(bool(tokens.finish) for tokens in news)
        if not entry.to_end:
            self._leave(entry)
        for tokens in news:
            self._tell(entry, tokens)

    def _fail(self, entry: Entry, error: Exception) -> None:
        """Tell one request's misfortune from the engine's."""
        if self._is_of_one_request(error):
            log.error("request %s failed in the engine: %s", entry.request.label, error)
            self._abort(entry)
            self._end(entry, Tokens([], error=EngineError(f"the engine failed the request: {error}")))
            return
        if not self._failure:
            log.error("the engine failed; every open request ends", exc_info=error)
            self._failure = EngineError("the engine failed")
        self._end_all(self._failure)

    def _is_of_one_request(self, error: Exception) -> bool:
        from tensorrt_llm.executor.utils import RequestError

        return isinstance(error, (RequestError, ValueError, EngineError))

    def _end_all(self, failure: EngineError) -> None:
        with self._lock:
            entries = self._admission.entries
        for entry in entries:
            self._end(entry, Tokens([], error=failure))

    def _abort(self, entry: Entry) -> None:
        entry.aborted = True
        if entry.handle:
            with contextlib.suppress(Exception):  # a dead engine has told everybody already
                entry.handle.abort()

    async def _leave_all(self) -> None:
        """The engine closes: all that is open ends as cancelled, which need not wait for a step."""
        with self._lock:
            entries = self._admission.entries
        for entry in entries:
            self._abort(entry)
            self._end(entry, Tokens([], "cancelled"))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def _end(self, entry: Entry, tokens: Tokens) -> None:
        """End all of a request at once; one that has ended is left alone."""
        if entry.to_end:
            entry.to_end = 0
            self._leave(entry)
            self._tell(entry, tokens)

    def _tell(self, entry: Entry, tokens: Tokens) -> None:
        if not entry.tell(tokens):
            self._abort(entry)

    def _leave(self, entry: Entry) -> None:
        with self._lock:
            self._admission.leave(entry)
            self._count_running()

    def _count_running(self) -> None:
        """The library lets them run in the order they came, as many as the batch has places."""
        while self._admission.next():
            pass

    async def _watch_stats(self) -> None:
        """A record a step, as they come; after a while without, and before the first request, it ends."""
        while True:
            await asyncio.sleep(STATS_SECONDS)
            with contextlib.suppress(Exception):  # of a dead engine, which shows elsewhere
                async for record in self._llm.get_stats_async(timeout=STATS_SECONDS):
                    cache = record["kvCacheStats"]
                    self._kv_cache_usage = cache["usedNumBlocks"] / max(1, cache["maxNumBlocks"])
