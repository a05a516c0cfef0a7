# SPDX-License-Identifier: Apache-2.0
"""The scheduler: which requests wait, which run, and the delivery of their tokens."""

from __future__ import annotations

import collections
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from llm_ensemble.engines.merge import ends_request, merge_tokens
from llm_ensemble.engines.protocol import GenerationRequest, OnTokens, Tokens
from llm_ensemble.errors import EngineError, Overloaded, RequestError

log = logging.getLogger(__name__)

Send = Callable[[], bool]


class ActiveRequest:
    """A request between Scheduler.add and its end. Only `handle` is set by the engine.

    handle: the library's object for the request once it runs.
    width: slots it takes. aborted: the engine should end it as soon as it can.
    """

    def __init__(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        self.request = request
        self.on_tokens = on_tokens
        self.handle: Any = None
        self.width = request.sampling.width
        self.scheduled = False
        self.aborted = False
        self.callback_failed = False
        self.unfinished = request.sampling.num_return_sequences
        self.pending: collections.deque[Tokens] = collections.deque()
        self.sending = False

    @property
    def finished(self) -> bool:
        """Whether all of its sequences have ended."""
        return not self.unfinished


class Scheduler:
    """Owns the open requests: queue, slots, delivery of tokens, exactly one end each. Thread-safe.

    Tokens of a request are delivered in order, by one call of on_tokens at a time, and none after its end.
    Its slots are free before on_tokens is called with the end. No lock is held during callbacks, so that
    they may call every method here. An on_tokens that raises aborts its own request and no other: it is
    called again only with what ends its sequences.

    max_running, max_waiting: limits in sequences, since a request takes a slot for each of its sequences.
    on_abort: called from any thread with a request that the engine should stop generating for.
    dispatch: called with a function that sends pending tokens. It must call that function, in any thread,
    until it returns False. By default it does so at once, in the thread that delivers.
    """

    def __init__(
        self,
        max_running: int,
        max_waiting: int,
        on_abort: Callable[[ActiveRequest], None] = lambda active: None,
        dispatch: Callable[[Send], None] | None = None,
    ) -> None:
        self._max_running = max_running
        self._max_open = max_running + max_waiting
        self._on_abort = on_abort
        self._dispatch = dispatch
        self._lock = threading.Lock()
        self._open: dict[ActiveRequest, None] = {}  # a set in the order of add
        self._queue: collections.deque[ActiveRequest] = collections.deque()
        self._running = 0
        self._waiting = 0
        self._failure: EngineError | None = None
        self._closed = False

    @property
    def load(self) -> tuple[int, int]:
        """Sequences running and sequences waiting."""
        with self._lock:
            return self._running, self._waiting

    @property
    def requests(self) -> list[ActiveRequest]:
        """A snapshot of the open requests, in the order of add."""
        with self._lock:
            return list(self._open)

    @property
    def failed(self) -> bool:
        """Whether fail() was called before close()."""
        return self._failure is not None

    @property
    def closed(self) -> bool:
        """Whether requests are no longer accepted."""
        return self._closed or self.failed

    def add(self, request: GenerationRequest, on_tokens: OnTokens) -> ActiveRequest:
        """Put a request at the end of the queue.

        Raises Overloaded if no more may wait, EngineError after fail() or close().
        """
        active = ActiveRequest(request, on_tokens)
        with self._lock:
            if self.closed:
                raise EngineError(str(self._failure or "the engine is closed"))
            if self._running + self._waiting + active.width > self._max_open:
                raise Overloaded(f"{self._running} running, {self._waiting} waiting")
            self._open[active] = None
            self._queue.append(active)
            self._waiting += active.width
        return active

    def schedule(self) -> ActiveRequest | None:
        """Give the first request of the queue its slots and return it; None if too few are free.

        First come, first served: a request that does not fit blocks those behind it. One that needs more
        slots than there are runs alone.
        """
        with self._lock:
            if not self._queue:
                return None
            if self._running and self._running + self._queue[0].width > self._max_running:
                return None
            active = self._queue.popleft()
            active.scheduled = True
            self._waiting -= active.width
            self._running += active.width
        active.request.on_scheduled()
        return active

    def deliver(self, active: ActiveRequest, news: Sequence[Tokens]) -> None:
        """Send tokens to a request; no-op once it has ended.

        It ends with the finish of its last sequence, or at once with "cancelled" or an error.
        """
        with self._lock:
            if not active.unfinished or not news:
                return
            for tokens in news:
                active.pending.append(tokens)
                if tokens.finish or tokens.error:
                    active.unfinished = 0 if ends_request(tokens) else active.unfinished - 1
                    if active.finished:
                        self._release(active)
                        break
            if active.sending:  # by a thread that will send these, too
                return
            active.sending = True
        if self._dispatch:
            self._dispatch(functools.partial(self._send, active))
        else:
            while self._send(active):
                pass

    def finish(self, active: ActiveRequest, error: EngineError | RequestError | None = None) -> None:
        """End all sequences of a request; no-op once it has ended.

        They end with the error, or with that of all requests after fail(), or else as cancelled.
        """
        error = error or self._failure
        self.deliver(active, [Tokens([], "" if error else "cancelled", error)])

    def abort(self, stream_id: int) -> None:
        """Mark a request as aborted and call on_abort; no-op if it is unknown or has ended.

        Its slots stay taken until the engine finishes it.
        """
        for active in self.requests:
            if active.request.stream_id == stream_id:
                self._abort(active)

    def fail(self, reason: str, error: Exception | None = None) -> None:
        """End every open request with an EngineError and accept no more; no-op after fail() or close().

        reason, error: for the log.
        """
        with self._lock:
            if self.closed:
                return
            self._failure = EngineError("the engine failed")
        log.error("the engine failed; every open request ends (%s)", reason, exc_info=error)
        self._finish_all()

    def close(self) -> bool:
        """End every open request as cancelled and accept no more; return False if closed before."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
        self._finish_all()
        return True

    def _finish_all(self) -> None:
        for active in self.requests:
            self.finish(active)
            self._abort(active)

    def _abort(self, active: ActiveRequest) -> None:
        active.aborted = True
        self._on_abort(active)

    def _release(self, active: ActiveRequest) -> None:
        """Take a request out of the queue or free its slots. Needs the lock."""
        del self._open[active]
        if active.scheduled:
            self._running -= active.width
        else:
            self._queue.remove(active)
            self._waiting -= active.width

    def _send(self, active: ActiveRequest) -> bool:
        """Call on_tokens with what is pending; return whether more is pending since."""
        pending = active.pending
        for tokens in merge_tokens([pending.popleft() for _ in range(len(pending))]):
            if active.callback_failed and not (tokens.finish or tokens.error):
                continue
            try:
                active.on_tokens(tokens)
            except Exception:
                self._note_failure(active)
        with self._lock:
            active.sending = bool(pending)
            return active.sending

    def _note_failure(self, active: ActiveRequest) -> None:
        log.exception("request %s: its tokens could not be delivered", active.request.label)
        active.callback_failed = True
        if not active.finished:
            self._abort(active)
