# SPDX-License-Identifier: Apache-2.0
"""The result of generate_async: one object that changes at every step."""

import asyncio
import logging
import os
import queue
import threading

from tensorrt_llm._fake.errors import EngineDeadError, RequestError
from tensorrt_llm._fake.requests.completion import CompletionOutput

log = logging.getLogger("tensorrt_llm")


class RequestOutput:
    """Trap: the iteration yields this same object at every step. Only deliver runs in the pump thread."""

    __slots__ = (
        "_aborted",
        "_all",
        "_executor",
        "_loop",
        "_news",
        "_params",
        "_tickets",
        "avg_decoded_tokens_per_iter",
        "cached_tokens",
        "context_logits",
        "decoding_iter",
        "finished",
        "metrics_dict",
        "mm_embedding_handle",
        "prompt",
        "prompt_token_ids",
        "request_id",
    )

    def __init__(self, executor, prompt_token_ids, params) -> None:
        self.request_id, self.prompt, self.prompt_token_ids = None, None, prompt_token_ids
        self.finished, self._aborted = False, False
        self.context_logits = self.mm_embedding_handle = self.avg_decoded_tokens_per_iter = None
        self.decoding_iter, self.cached_tokens, self.metrics_dict = 0, 0, {}
        self._executor, self._params = executor, params
        self._all = [CompletionOutput(index) for index in range(params.best_of)]
        self._news: queue.SimpleQueue = queue.SimpleQueue()
        self._tickets: asyncio.Queue | None = None
        try:
            self._loop = asyncio.get_running_loop()
            self._tickets = asyncio.Queue()
        except RuntimeError:
            self._loop = None

    @property
    def outputs(self) -> list[CompletionOutput]:
        """Return the n most probable of best_of samples, once finished."""
        if self.finished and len(self._all) > self._params.n and not self._params.use_beam_search:
            return sorted(self._all, key=lambda one: -one.cumulative_logprob)[: self._params.n]
        return self._all[: self._params.n]

    def deliver(self, news) -> None:
        """Runs in the pump thread. Nothing is delivered to a loop that has been closed."""
        self._news.put(news)
        if self._loop:
            try:
                self._loop.call_soon_threadsafe(self._tickets.put_nowait, None)
            except RuntimeError as error:
                log.error("request %s: its loop is gone (%s)", self.request_id, error)

    def wait_heard(self) -> None:
        """Trap: waits forever if the loop has been closed, has stopped or is the caller's own."""
        if self._loop:
            heard = threading.Event()
            try:
                self._loop.call_soon_threadsafe(heard.set)
            except RuntimeError as error:
                log.error("request %s: its loop is gone (%s)", self.request_id, error)
            heard.wait()

    def abort(self) -> None:
        if self.finished:
            log.warning("request %s has finished: nothing to abort", self.request_id)
            return
        self._aborted = True
        self._executor.abort(self.request_id)

    def aborted(self) -> bool:
        return self._aborted

    def result(self, timeout: float | None = None) -> "RequestOutput":
        """Trap: the timeout is accepted and ignored."""
        while not self.finished:
            self._apply(self._news.get())
        return self

    async def aresult(self) -> "RequestOutput":
        while not self.finished:
            await self._astep()
        return self

    def __await__(self):
        return self.aresult().__await__()

    def __aiter__(self):
        return self

    async def __anext__(self) -> "RequestOutput":
        if self.finished:
            raise StopAsyncIteration
        await self._astep()
        return self

    def __iter__(self):
        return self

    def __next__(self) -> "RequestOutput":
        if self.finished:
            raise StopIteration
        self._apply(self._news.get())
        return self

    def clear_logprob_params(self) -> None:
        self._params.logprobs = self._params.prompt_logprobs = None

    async def _astep(self) -> None:
        assert self._tickets is not None, "no asyncio loop ran in the thread that called generate_async"
        await self._tickets.get()
        self._apply(self._news.get())

    def _apply(self, news) -> None:
        """An error leaves `finished` as it is.

        Traps: AssertionError is raised by the library's own checks of a response (of its log probabilities'
        number, say), and is that request's alone. Any other but the two of its own is the executor's end,
        and shuts it down from here.
        """
        if isinstance(news.error, (RequestError, EngineDeadError, AssertionError)):
            raise news.error
        if news.error is not None:
            self._executor.shutdown()
            raise news.error
        self.decoding_iter += 1
        for part in news.parts:
            self._all[part.index]._apply(part, self._params, self._is_told_why(part, news))
        self.finished = news.done

    def _is_told_why(self, part, news) -> bool:
        """Set it for each sequence as it ends. In one source of 1.2's time only the last one had it."""
        if os.environ.get("FAKE_TRTLLM_TELLS_LAST_ALONE") != "1":
            return True
        alone = self._params.use_beam_search or part.finish == "CANCELLED"
        return bool(alone or (news.done and part is news.parts[-1]))
