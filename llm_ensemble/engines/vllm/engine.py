# SPDX-License-Identifier: Apache-2.0
"""vLLM's AsyncLLM as an engine: NVIDIA GPUs, continuous batching, any checkpoint that vLLM loads.

- AsyncLLM is made and used in one event loop, in a thread of its own: its output handler runs there. What
  is done with tokens happens in another thread (hand_over.py), since it would hold up the handler.
- The model itself runs in other processes, which vLLM starts; if one dies, AsyncLLM.errored is set.
- vLLM's queue has no limit, so the scheduler here limits how many requests wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_ensemble.engines.draft import DraftTokens
from llm_ensemble.engines.protocol import EngineStats, GenerationRequest, OnTokens, Tokens
from llm_ensemble.engines.scheduler import ActiveRequest, Scheduler
from llm_ensemble.engines.vllm.api import engine_arguments, engine_prompt, read_output, read_sampling
from llm_ensemble.engines.vllm.arrivals import Arrivals
from llm_ensemble.engines.vllm.guides.gate import GuideGate
from llm_ensemble.engines.vllm.guides.params import guides_config, tokenizer_folder
from llm_ensemble.engines.vllm.hand_over import HandOver, new_event_loop
from llm_ensemble.engines.vllm.lora import lora_arguments, lora_request
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.engines.vllm.stats import cache_usage_logger
from llm_ensemble.engines.vllm.token_sink import has_direct_sink, take_outputs, take_plain_tokens
from llm_ensemble.engines.vllm.warm_up import warm_up
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.manifest import Manifest

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5  # between two looks at whether vLLM lives; without requests nothing else shows it
# For vLLM's processes, which are killed then. Their own tidy end takes 5 s (seen), with nothing left to save.
PROCESSES_SECONDS = 1.0
SHUTDOWN_SECONDS = 20  # for the whole of vLLM's shutdown, which has no limit of its own
LAST_TOKENS_SECONDS = 5  # at close, for pending tokens and for the event loop
WARM_UP_PROMPT = [1, 2, 3, 4]


class VllmEngine:
    """One AsyncLLM and the thread whose event loop drives it; submit and abort hand their work there."""

    def __init__(
        self,
        engine_dir: Path,
        manifest: Manifest,
        max_waiting: int,
        settings: VllmSettings,
        adapters: Adapters | None = None,
        **arguments: Any,
    ) -> None:
        """Load the engine. arguments: further fields of AsyncEngineArgs. Raise EngineDirectoryError."""
        self._adapters = adapters or Adapters()
        arguments = {
            **engine_arguments(engine_dir, manifest, settings),
            **lora_arguments(self._adapters, manifest.precision),
            "structured_outputs_config": guides_config(),
            **arguments,
        }
        self._scheduler = Scheduler(manifest.limits.max_batch_size, max_waiting, self._abort_soon)
        self._settings = settings
        self._draft_tokens = DraftTokens(settings)
        self._cache_usage = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._submitted = 0
        self._loop = new_event_loop()
        self._outputs = HandOver(self._loop, self._deliver, lambda active: active.request.may_wait)
        self._arrivals = Arrivals(self._loop, self._start, lambda: self._scheduler.load[0])
        self._guides = GuideGate(
            engine_dir,
            functools.partial(self._call_soon, self._arrivals.add),
            functools.partial(self._call_soon, self._finish),
        )
        self._thread = threading.Thread(target=self._run, name="vllm-engine", daemon=True)
        self._thread.start()
        try:
            with tokenizer_folder(engine_dir) as folder:
                self._llm = self._in_loop(self._load({"tokenizer": str(folder), **arguments}))
        except Exception as error:
            self._stop_threads()
            raise EngineDirectoryError(f"{engine_dir} cannot be loaded: {error}") from error
        self._direct = has_direct_sink(self._llm)
        if self._direct:
            take_plain_tokens(self._llm, self._outputs.put_plain)
        self._in_loop(warm_up(self._llm, settings, engine_prompt(WARM_UP_PROMPT)))
        self._call_soon(self._check_life)
        # What was loaded lives as long as the process: the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        params = read_sampling(request.sampling, self._settings)
        self._adapters.check(request.sampling)
        active = self._scheduler.add(request, on_tokens)
        self._schedule()
        self._guides.add(active, params)

    def abort(self, stream_id: int) -> None:
        """End a request early (see Engine.abort)."""
        self._scheduler.abort(stream_id)

    @property
    def failed(self) -> bool:
        """Whether the engine is dead (see Engine.failed)."""
        return self._scheduler.failed

    def stats(self) -> EngineStats:
        """Return the load; kv_cache_usage is that of vLLM's last step."""
        running, waiting = self._scheduler.load
        usage = self._cache_usage if running else 0.0
        return EngineStats(running, waiting, usage, *self._draft_tokens.totals)

    def close(self) -> None:
        """End every open request, free the GPUs, stop the threads; returns even if vLLM hangs."""
        if not self._scheduler.close():
            return
        self._guides.close()
        shutdown = threading.Thread(
            target=self._llm.shutdown, args=(PROCESSES_SECONDS,), name="vllm-shutdown", daemon=True
        )
        shutdown.start()
        shutdown.join(SHUTDOWN_SECONDS)
        if shutdown.is_alive():
            log.error("vLLM has not shut down within %s s; its processes may be left", SHUTDOWN_SECONDS)
        self._stop_threads()

    def _stop_threads(self) -> None:
        self._call_soon(self._stop)
        self._outputs.close(LAST_TOKENS_SECONDS)
        self._thread.join(LAST_TOKENS_SECONDS)

    async def _load(self, arguments: dict[str, Any]) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        loggers = [cache_usage_logger(self._set_cache_usage, self._draft_tokens.count)]
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=loggers)

    def _set_cache_usage(self, usage: float) -> None:
        self._cache_usage = usage

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.stop)

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _call_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function on the event loop's thread; no-op if the loop is closed, as vLLM then is."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def _check_life(self) -> None:
        if self._llm.errored:
            self._scheduler.fail("a process of vLLM has ended")
        elif not self._scheduler.closed:
            self._loop.call_later(CHECK_SECONDS, self._check_life)

    def _start(self, arrived: tuple[ActiveRequest, Any]) -> None:
        self._create_task(self._generate(*arrived))

    def _create_task(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def _generate(self, active: ActiveRequest, params: Any) -> None:
        if active.aborted or active.finished:
            self._finish(active)
            return
        self._submitted += 1
        active.handle = str(self._submitted)  # the id in vLLM, which must differ from all others
        try:
            await take_outputs(
                self._llm,
                engine_prompt(active.request.input_ids),
                params,
                active.handle,
                functools.partial(self._on_output, active),
                direct=self._direct,
                key=None if active.request.sampling.log_probs else active,
                lora=lora_request(self._adapters, active.request.sampling.lora),
            )
        except Exception as error:
            self._handle_error(active, error)

    def _on_output(self, active: ActiveRequest, output: Any) -> None:
        """Take an output, in the loop's thread; abort in vLLM what was aborted before vLLM knew it."""
        try:
            if isinstance(output, Exception):
                raise output
            self._outputs.put(active, read_output(output, active.request.sampling))
        except Exception as error:
            self._handle_error(active, error)
        if active.finished and not getattr(output, "finished", True):
            self._abort(active)

    def _deliver(self, active: ActiveRequest, news: Sequence[Tokens]) -> None:
        """Deliver tokens; in the thread of HandOver, which must not see an exception."""
        try:
            self._scheduler.deliver(active, news)
        except Exception as error:
            self._handle_error(active, error)
        if active.finished:
            self._schedule()

    def _handle_error(self, active: ActiveRequest, error: Exception) -> None:
        """End the request, or all of them if vLLM has died."""
        if self._llm.errored:
            self._scheduler.fail("vLLM has died", error)
        else:
            log.error("request %s failed in the engine: %r", active.request.label, error)
            self._finish(active, EngineError(f"the engine failed the request: {error!r}"))
            self._abort_soon(active)

    def _finish(self, active: ActiveRequest, error: EngineError | RequestError | None = None) -> None:
        self._scheduler.finish(active, error)
        self._schedule()

    def _abort_soon(self, active: ActiveRequest) -> None:
        self._call_soon(self._abort, active)

    def _abort(self, active: ActiveRequest) -> None:
        """Abort in vLLM, which forgets the request at once, and end it here."""
        if active.handle and not self._llm.errored:
            self._create_task(self._abort_in_vllm(active.handle))
        self._finish(active)

    async def _abort_in_vllm(self, handle: str) -> None:
        with contextlib.suppress(Exception):  # of a dead engine, whose requests have all ended
            await self._llm.abort(handle)

    def _schedule(self) -> None:
        """Count as running what vLLM runs: in the order of submission, as many as have slots."""
        while self._scheduler.schedule():
            pass
