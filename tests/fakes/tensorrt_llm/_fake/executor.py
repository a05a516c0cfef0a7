# SPDX-License-Identifier: Apache-2.0
"""The executor: a thread that drives GenAI's pipeline, and one that hands its results out.

Environment, for tests: FAKE_TRTLLM_FAIL_TOKEN, a request whose prompt has this id fails, alone.
FAKE_TRTLLM_DIE_TOKEN: it takes the executor with it; with FAKE_TRTLLM_DIE_SILENT=1 only that request is
told. FAKE_TRTLLM_STEP_SECONDS: every step takes so much longer.
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
from tensorrt_llm._fake.generation import generation_config
from tensorrt_llm._fake.model_dir import Limits
from tensorrt_llm._fake.pipeline import load_pipeline
from tensorrt_llm._fake.sequences import Entry, News
from tensorrt_llm._fake.stats import Stats
from tensorrt_llm.executor.utils import RequestError

log = logging.getLogger("tensorrt_llm")


class Executor:
    """Waiting is without limit; max_batch_size run. The pump hands news to a result's deliver."""

    def __init__(self, limits: Limits, kv_cache_config, chunked: bool) -> None:
        self._limits, self._chunked = limits, chunked
        self._pipeline = load_pipeline(limits, kv_cache_config)
        self.stats = Stats(limits)
        self._numbers = itertools.count(1)
        self._waiting: collections.deque[Entry] = collections.deque()
        self._running: list[Entry] = []
        self._closed, self._cancels = False, 0
        self._changed = threading.Condition()
        self._results: queue.SimpleQueue = queue.SimpleQueue()
        self._pump = threading.Thread(target=self._hand_out, name="fake-trtllm-results", daemon=True)
        self._thread = threading.Thread(target=self._run, name="fake-trtllm-executor", daemon=True)
        self._pump.start()
        self._thread.start()

    def submit(self, prompt, params, max_tokens, streaming, result) -> int:
        with self._changed:
            if self._closed:
                raise RuntimeError("LLM is shutting down")
            entry = Entry(next(self._numbers), prompt, params, max_tokens, streaming, result)
            self._waiting.append(entry)
            self.stats.begun = True
            self._changed.notify()
            return entry.number

    def abort(self, number: int) -> None:
        with self._changed:
            for entry in (*self._waiting, *self._running):
                entry.aborted = entry.aborted or entry.number == number
            self._changed.notify()

    def is_shutdown(self) -> bool:
        return self._closed

    def shutdown(self) -> None:
        """Open requests hear nothing more: what the real one tells them the sheet does not say."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._results.put(None)
        if threading.current_thread() is not self._pump:
            self._pump.join()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._step()
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
        self._let_aborted_out()
        new = self._let_newcomers_in()
        if self._running or self._cancels:  # a cancelled request leaves the pipeline in its next step
            self._pipeline.step()
            self._cancels = 0
        time.sleep(float(os.environ.get("FAKE_TRTLLM_STEP_SECONDS", 0)))  # 0 lets go of the GIL
        scheduled = len(self._running)
        ended = sum(self._collect(entry) for entry in list(self._running))
        usage = self._pipeline.get_metrics().cache_usage / 100
        self.stats.add(begun, new, scheduled, len(self._running), len(self._waiting), ended, usage)

    def _let_aborted_out(self) -> None:
        for entry in self._open():
            if entry.aborted:
                if entry.handle:
                    entry.handle.cancel()
                    self._cancels += 1
                self._leave(entry, entry.cancelled())

    def _let_newcomers_in(self) -> int:
        count = 0
        while entry := self._next():
            self._die_if_told(entry)
            try:
                entry.handle = self._add(entry)
                count += 1
            except Exception as error:  # this one request is refused
                self._leave(entry, News([], done=True, error=RequestError(str(error))))
        return count

    def _next(self) -> Entry | None:
        with self._changed:
            taken = sum(entry.width for entry in self._running)
            if not self._waiting or taken + self._waiting[0].width > self._limits.max_batch_size:
                return None
            self._running.append(self._waiting.popleft())
            return self._running[-1]

    def _add(self, entry: Entry):
        """C++ looks at the runtime's limits, which may be lower than the engine's."""
        width = entry.params.best_of if entry.params.use_beam_search else 1
        if width > self._limits.max_beam_width:
            raise ValueError(f"beam width {width} exceeds the executor's {self._limits.max_beam_width}")
        if len(entry.prompt) > self._limits.max_num_tokens and not self._chunked:
            raise ValueError(f"a prompt of {len(entry.prompt)} exceeds max_num_tokens and is not chunked")
        if _token_of("FAIL") in entry.prompt:
            raise ValueError("the prompt has FAKE_TRTLLM_FAIL_TOKEN")
        ids = ov.Tensor(np.array([entry.prompt], dtype=np.int64))
        return self._pipeline.add_request(
            entry.number, ids, generation_config(entry.params, entry.max_tokens)
        )

    def _die_if_told(self, entry: Entry) -> None:
        if _token_of("DIE") not in entry.prompt:
            return
        if os.environ.get("FAKE_TRTLLM_DIE_SILENT") == "1":
            with self._changed:
                self._waiting.clear()
                self._running = [entry]
        raise MemoryError("the prompt has FAKE_TRTLLM_DIE_TOKEN")

    def _collect(self, entry: Entry) -> bool:
        """Whether the request has ended."""
        outputs = entry.handle.read() if entry.handle.can_read() else {}
        if not outputs and entry.handle.get_status() != genai.GenerationStatus.RUNNING:
            self._leave(entry, News([], done=True, error=RequestError("the KV cache has no room")))
            return True
        news = entry.take(outputs)
        if news and news.done:
            if entry.handle.get_status() == genai.GenerationStatus.RUNNING:  # ended by a stop word
                entry.handle.cancel()
                self._cancels += 1
            self._leave(entry, news)
        elif news:
            self._results.put((entry.result, news))
        return bool(news and news.done)

    def _leave(self, entry: Entry, news: News) -> None:
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
            self._leave(entry, News([], done=True, error=error))

    def _hand_out(self) -> None:
        while item := self._results.get():
            result, news = item
            result.deliver(news)


def _token_of(name: str) -> int:
    return int(os.environ.get(f"FAKE_TRTLLM_{name}_TOKEN", -1))
