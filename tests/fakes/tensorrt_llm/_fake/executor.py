# SPDX-License-Identifier: Apache-2.0
"""The executor: a thread that drives GenAI's pipeline, and one that delivers its results.

What tests can make it do by the environment is in ../../README.md.
"""

import collections
import itertools
import logging
import os
import queue
import threading
import time

import numpy as np
import openvino as ov
import openvino_genai as genai
from tensorrt_llm._fake.errors import EngineDeadError, RequestError
from tensorrt_llm._fake.generation import generation_config
from tensorrt_llm._fake.model_dir import Limits
from tensorrt_llm._fake.pipeline import load_pipeline
from tensorrt_llm._fake.sequences import Entry, News
from tensorrt_llm._fake.stats import Stats
from tensorrt_llm._fake.version import NEWER
from tensorrt_llm._fake.workers import Killed, Workers

log = logging.getLogger("tensorrt_llm")


class Executor:
    """The queue has no limit; max_batch_size run. The pump thread calls deliver of the results.

    mpi_futures and _error_queue have the names that the real proxy has.
    """

    def __init__(self, limits: Limits, kv_cache_config, chunked: bool, pytorch: bool, adapter=None) -> None:
        self._limits, self._chunked, self._pytorch = limits, chunked, pytorch
        # In 1.2 the PyTorch backend's sampler has one generator for all requests, with its own seed.
        self._draws = itertools.count() if pytorch and not NEWER else None
        self._workers = Workers(limits.world_size)
        self.mpi_futures, self._error_queue = self._workers.futures, self._workers.errors
        self._pipeline = load_pipeline(limits, kv_cache_config, adapter)
        self.stats = Stats(limits)
        self._numbers = itertools.count(1)
        self._waiting: collections.deque[Entry] = collections.deque()
        self._running: list[Entry] = []
        self._closed, self._cancels = False, 0
        self._changed = threading.Condition()
        self._results: queue.SimpleQueue = queue.SimpleQueue()
        self._pump = threading.Thread(target=self._deliver_results, name="fake-trtllm-results", daemon=True)
        self._thread = threading.Thread(target=self._run, name="fake-trtllm-executor", daemon=True)
        self._pump.start()
        self._thread.start()

    def submit(self, prompt, params, max_tokens, streaming, result) -> int:
        self._raise_background_error()
        with self._changed:
            if self._closed:
                raise RuntimeError("LLM is shutting down")
            top_alone = self._draws is not None
            entry = Entry(next(self._numbers), prompt, params, max_tokens, streaming, result, top_alone)
            self._waiting.append(entry)
            self.stats.begun = True
            self._changed.notify()
            return entry.number

    def _raise_background_error(self) -> None:
        """Trap: only here a worker's death is noticed; the calling thread then shuts everything down."""
        if not self._error_queue.empty():
            error = self._error_queue.get()
            if NEWER:
                self._error_queue.put(error)
                raise EngineDeadError(str(error))
            self.shutdown()
            raise error

    def abort(self, number: int) -> None:
        with self._changed:
            for entry in (*self._waiting, *self._running):
                entry.aborted = entry.aborted or entry.number == number
            self._changed.notify()

    def is_shutdown(self) -> bool:
        return self._closed

    def shutdown(self, wait: bool = True) -> None:
        """End open requests as cancelled. Traps: it waits for their loops and for its workers.

        wait: whether, which is for the end of a test's process alone.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        if wait:
            self._workers.wait_ended()
        cancelled = [] if self._workers.killed else self._open()
        for entry in cancelled:
            self._finish(entry, entry.cancelled())
        self._results.put(None)
        if threading.current_thread() is not self._pump:
            self._pump.join()
        for entry in cancelled if wait else ():
            entry.result.wait_heard()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._step()
        except Killed:
            self._workers.kill_one()
            if NEWER:
                self._die(EngineDeadError("a worker process was killed"))
        except Exception as error:
            log.exception("the executor failed")
            self._die(error)
        self._pipeline = None

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._open() or self._cancels or self._closed)
            return not self._closed

    def _step(self) -> None:
        begun = time.monotonic()
        self._remove_aborted()
        new = self._add_waiting()
        if self._running or self._cancels:  # a cancelled request leaves the pipeline in its next step
            self._pipeline.step()
            self._cancels = 0
        time.sleep(float(os.environ.get("FAKE_TRTLLM_STEP_SECONDS", 0)))  # 0 releases the GIL
        scheduled = len(self._running)
        ended = sum(self._collect(entry) for entry in list(self._running))
        usage = self._pipeline.get_metrics().cache_usage / 100
        self.stats.add(begun, new, scheduled, len(self._running), len(self._waiting), ended, usage)

    def _remove_aborted(self) -> None:
        for entry in self._open():
            if entry.aborted:
                if entry.handle:
                    entry.handle.cancel()
                    self._cancels += 1
                self._finish(entry, entry.cancelled())

    def _add_waiting(self) -> int:
        count = 0
        while entry := self._schedule():
            self._die_if_asked(entry)
            try:
                entry.handle = self._add(entry)
                count += 1
            except AssertionError as error:
                self._finish(entry, News([], done=True, error=error))
            except Exception as error:  # only this request is refused
                self._finish(entry, News([], done=True, error=RequestError(str(error))))
        return count

    def _schedule(self) -> Entry | None:
        with self._changed:
            taken = sum(entry.width for entry in self._running)
            if not self._waiting or taken + self._waiting[0].width > self._limits.max_batch_size:
                return None
            self._running.append(self._waiting.popleft())
            return self._running[-1]

    def _add(self, entry: Entry):
        """C++ checks the limits of the runtime, which may be lower than the engine's."""
        width = entry.params.best_of if entry.params.use_beam_search else 1
        if width > self._limits.max_beam_width:
            raise ValueError(f"beam width {width} exceeds the executor's {self._limits.max_beam_width}")
        if len(entry.prompt) > self._limits.max_num_tokens and not self._chunked:
            raise ValueError(f"a prompt of {len(entry.prompt)} exceeds max_num_tokens and is not chunked")
        if self._pytorch and width != self._limits.max_beam_width:  # trap: not even without beams
            raise ValueError(
                f"request beam width {width} is not equal to max_beam_width {self._limits.max_beam_width}"
            )
        if _token_of("FAIL") in entry.prompt:
            raise ValueError("the prompt has FAKE_TRTLLM_FAIL_TOKEN")
        assert _token_of("ASSERT") not in entry.prompt, "the prompt has FAKE_TRTLLM_ASSERT_TOKEN"
        ids = ov.Tensor(np.array([entry.prompt], dtype=np.int64))
        own_seed = None if self._draws is None else next(self._draws)
        config = generation_config(entry.params, entry.max_tokens, own_seed)
        return self._pipeline.add_request(entry.number, ids, config)

    def _die_if_asked(self, entry: Entry) -> None:
        if _token_of("KILL") in entry.prompt:
            raise Killed
        if _token_of("DIE") not in entry.prompt:
            return
        if os.environ.get("FAKE_TRTLLM_DIE_SILENT") == "1":
            with self._changed:
                self._waiting.clear()
                self._running = [entry]
        raise MemoryError("the prompt has FAKE_TRTLLM_DIE_TOKEN")

    def _collect(self, entry: Entry) -> bool:
        """Deliver what is new; return whether the request has ended."""
        outputs = entry.handle.read() if entry.handle.can_read() else {}
        if not outputs and entry.handle.get_status() != genai.GenerationStatus.RUNNING:
            self._finish(entry, News([], done=True, error=RequestError("the KV cache has no room")))
            return True
        news = entry.take(outputs)
        if news and news.done:
            if entry.handle.get_status() == genai.GenerationStatus.RUNNING:  # ended by a stop word
                entry.handle.cancel()
                self._cancels += 1
            self._finish(entry, news)
        elif news:
            self._results.put((entry.result, news))
        return bool(news and news.done)

    def _finish(self, entry: Entry, news: News) -> None:
        with self._changed:
            (self._running if entry in self._running else self._waiting).remove(entry)
        self._results.put((entry.result, news))

    def _open(self) -> list[Entry]:
        with self._changed:
            return [*self._waiting, *self._running]

    def _die(self, error: Exception) -> None:
        with self._changed:
            self._closed = True
        for entry in self._open():
            self._finish(entry, News([], done=True, error=error))

    def _deliver_results(self) -> None:
        while item := self._results.get():
            result, news = item
            result.deliver(news)


def _token_of(name: str) -> int:
    return int(os.environ.get(f"FAKE_TRTLLM_{name}_TOKEN", -1))
