# SPDX-License-Identifier: Apache-2.0
"""TensorRT-LLM's LLM class as an engine: NVIDIA GPUs, in-flight batching, built engines and checkpoints.

The code relies on these facts of TensorRT-LLM 1.2.1, which were read in its source and not observed:
- results are asynchronous: they must be requested while an asyncio loop runs in the same thread, so one
  thread runs a loop and requests all of them. Nothing else on that thread may block. The library itself
  does: for each request it reads the built engine's config.json again;
- the library's queue has no limit, so the scheduler here limits how many requests wait; the library decides
  which run;
- a prompt must be a list of Python ints; numpy's ints are rejected;
- an aborted request ends normally, with finish cancelled; to abort one that has just ended is harmless;
- the class of an exception does not show whether the library has died: its state must be checked
  (liveness.py);
- at shutdown the last responses of open requests go to their loop, which therefore must still run;
- statistics are those of the last step, however long ago, so running and waiting are counted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_ensemble.engines.protocol import EngineStats, GenerationRequest, OnTokens
from llm_ensemble.engines.scheduler import ActiveRequest, Scheduler
from llm_ensemble.engines.tensorrt_llm.api import (
    Reader,
    check_sampling,
    sampling_params,
    with_end_of_guide,
)
from llm_ensemble.engines.tensorrt_llm.liveness import LivenessWatch, find_death
from llm_ensemble.engines.tensorrt_llm.loading import has_logits, load_llm, vocabulary
from llm_ensemble.engines.tensorrt_llm.lora import lora_config, lora_request
from llm_ensemble.engines.tensorrt_llm.sender_threads import SenderThreads
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.engines.tensorrt_llm.stats import CacheUsage
from llm_ensemble.errors import EngineError
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.manifest import Manifest

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 30  # the library's shutdown has no limit: after a worker's death it may wait forever
LAST_TOKENS_SECONDS = 5  # at close, for pending tokens and for the event loop


class TensorRtLlmEngine:
    """One LLM and the thread whose event loop drives it; submit and abort hand their work to that loop.

    Other threads watch the library's liveness, read its statistics and call on_tokens.
    """

    def __init__(
        self,
        engine_dir: Path,
        manifest: Manifest,
        max_waiting: int,
        settings: TensorRtLlmSettings,
        adapters: Adapters | None = None,
    ) -> None:
        self._adapters = adapters or Adapters()
        self._manifest = manifest
        self._logits = has_logits(engine_dir, manifest)
        self._vocabulary = vocabulary(engine_dir, manifest)
        # A built engine has the plugin for adapters, or it was refused; it needs no more than requests say.
        of_config = self._adapters if manifest.backend == "pytorch" else Adapters()
        self._llm = load_llm(engine_dir, manifest, settings, lambda: lora_config(of_config))
        self._end_of_guide: int | None = self._llm.tokenizer.eos_token_id
        self._senders = SenderThreads()
        self._scheduler = Scheduler(
            manifest.limits.max_batch_size, max_waiting, self._abort_soon, self._senders.put
        )
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="tensorrt-llm-engine", daemon=True)
        self._thread.start()
        self._liveness = LivenessWatch(self._llm, self._loop, self._scheduler.fail)
        self._cache = CacheUsage(self._llm, busy=lambda: self._scheduler.load[0] > 0)

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        check_sampling(request.sampling, self._manifest, self._logits, self._vocabulary)
        self._adapters.check(request.sampling)
        active = self._scheduler.add(request, on_tokens)
        self._schedule()
        self._call_soon(self._start, active)

    def abort(self, stream_id: int) -> None:
        """End a request early (see Engine.abort)."""
        self._scheduler.abort(stream_id)

    @property
    def failed(self) -> bool:
        """Whether the engine is dead (see Engine.failed)."""
        return self._scheduler.failed

    def stats(self) -> EngineStats:
        """Return the load; kv_cache_usage is up to a second old."""
        running, waiting = self._scheduler.load
        return EngineStats(running, waiting, self._cache.value if running else 0.0)

    def close(self) -> None:
        """End every open request, free the GPUs, stop the threads; returns even if the library hangs."""
        if not self._scheduler.close():
            return
        self._liveness.close()
        self._cache.close()
        self._shut_down()
        self._call_soon(self._stop)
        self._senders.close(LAST_TOKENS_SECONDS)
        self._thread.join(LAST_TOKENS_SECONDS)

    def _shut_down(self) -> None:
        """Shut the library down in a thread, abandoned if it hangs; the loop must still run meanwhile."""
        shutdown = threading.Thread(target=self._llm.shutdown, name="tensorrt-llm-shutdown", daemon=True)
        shutdown.start()
        shutdown.join(SHUTDOWN_SECONDS)
        if shutdown.is_alive():
            log.error(
                "TensorRT-LLM has not shut down within %s s; its processes may be left", SHUTDOWN_SECONDS
            )

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._loop.call_soon(self._loop.stop)

    def _call_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function on the event loop's thread; no-op if the loop is closed, as the library then is."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def _start(self, active: ActiveRequest) -> None:
        task = self._loop.create_task(self._serve(active))
        self._tasks.add(task)  # the loop itself holds only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, active: ActiveRequest) -> None:
        """Serve one request from its start to its end."""
        try:
            await self._generate(active)
        except Exception as error:
            self._handle_error(active, error)
        self._schedule()

    async def _generate(self, active: ActiveRequest) -> None:
        sampling = with_end_of_guide(active.request.sampling, self._end_of_guide)
        if not (active.aborted or active.finished):
            active.handle = self._llm.generate_async(
                inputs=active.request.input_ids,
                sampling_params=sampling_params(sampling, self._vocabulary),
                streaming=sampling.beam_width == 1,  # each response of a beam search has all of every beam
                **lora_request(self._adapters, sampling.lora),
            )
            reader = Reader(sampling)
            async for output in active.handle:
                self._scheduler.deliver(active, reader.read(output))
                if active.finished:
                    return
        self._scheduler.finish(active)

    def _handle_error(self, active: ActiveRequest, error: Exception) -> None:
        """End the request, or all of them if the library has died."""
        if death := find_death(self._llm, error):
            self._scheduler.fail(death, error)
        elif active.aborted:  # the library's own checks may stumble over an abort
            self._scheduler.finish(active)
        else:
            log.error("request %s failed in the engine: %r", active.request.label, error)
            self._abort(active)
            self._scheduler.finish(active, EngineError(f"the engine failed the request: {error!r}"))

    def _abort_soon(self, active: ActiveRequest) -> None:
        self._call_soon(self._abort, active)

    def _abort(self, active: ActiveRequest) -> None:
        if active.handle:
            with contextlib.suppress(Exception):  # of a dead engine, whose requests have all ended
                active.handle.abort()

    def _schedule(self) -> None:
        """Count as running what the library runs: in the order of submission, as many as have slots."""
        while self._scheduler.schedule():
            pass
