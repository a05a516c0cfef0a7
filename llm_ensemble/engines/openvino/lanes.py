# SPDX-License-Identifier: Apache-2.0
"""The lanes of an engine: one for the model as it is, and one for each adapter in memory.

OpenVINO GenAI (2026.4.1, seen and read) sets adapters for a pipeline, not for a request: add_request()
ignores them, generate() sets them for all and wants the pipeline to be empty; and its prefix cache does not
tell them apart. So an adapter has a pipeline of its own, in which its matrices are constants, with a KV cache
of its own. Its price is memory: about 1.1 times the weights' file for each. The lanes step in turn.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from llm_ensemble.engines.openvino.lane import Lane
from llm_ensemble.engines.scheduler import ActiveRequest, Scheduler
from llm_ensemble.errors import EngineError

log = logging.getLogger(__name__)


class Lanes:
    """Finds each request its lane, and loads those that it lacks, in a thread, while others step.

    One more than `most` takes the place of that used least recently. If all are in use, that one gets no
    more requests until it is idle: so each adapter has its turn, in the order in which they were asked for.

    load: makes the lane of an adapter, by its name. wake: called from another thread when one was loaded.
    """

    def __init__(
        self,
        base: Lane,
        most: int,
        load: Callable[[str], Lane],
        scheduler: Scheduler,
        wake: Callable[[], None],
    ) -> None:
        self.base = base
        self._most = most
        self._load = load
        self._scheduler = scheduler
        self._wake = wake
        self._by_name: dict[str, Lane] = {}  # the one used last at the end
        self._waiting: collections.deque[ActiveRequest] = collections.deque()  # for a lane that is not there
        self._closing = ""  # the adapter that is to go when it is idle
        self._loading = ""
        self._loaded: list[tuple[str, Lane | Exception]] = []

    def __iter__(self) -> Iterator[Lane]:
        yield self.base
        yield from [*self._by_name.values()]

    @property
    def busy(self) -> list[Lane]:
        """Those that need a step."""
        return [lane for lane in self if lane.is_busy]

    @property
    def names(self) -> list[str]:
        """The adapters in memory, the one used last at the end."""
        return [*self._by_name]

    def load_now(self, name: str) -> None:
        """Load an adapter and wait for it. Raise what loading raises."""
        self._by_name[name] = self._load(name)

    def put(self, active: ActiveRequest) -> None:
        """Take a request that has its slots."""
        if active.request.sampling.lora:
            self._waiting.append(active)
        else:
            self.base.put(active)

    def assign(self) -> None:
        """Put requests that wait for a lane into it, if it is there; else see that it will be."""
        self._take_loaded()
        waiting, self._waiting = self._waiting, collections.deque()
        for active in waiting:
            name = active.request.sampling.lora
            if active.aborted:
                self._scheduler.finish(active)
            elif name in self._by_name and name != self._closing:
                self._by_name[name] = self._by_name.pop(name)
                self._by_name[name].put(active)
            else:
                self._waiting.append(active)
        self._make_room()

    def _make_room(self) -> None:
        """Begin to load what is waited for longest, in the place of another if need be."""
        if self._closing and not self._by_name[self._closing].is_busy:
            self._remove(self._closing)
        missing = (active.request.sampling.lora for active in self._waiting)
        name = next((name for name in missing if name not in self._by_name), "")
        if not name or self._loading or self._closing:
            return
        if len(self._by_name) >= self._most:
            idle = (one for one, lane in self._by_name.items() if not lane.is_busy)
            if not (out := next(idle, "")):
                self._closing = next(iter(self._by_name))
                return
            self._remove(out)
        self._loading = name
        threading.Thread(target=self._load_aside, args=(name,), name="openvino-lora", daemon=True).start()

    def _remove(self, name: str) -> None:
        del self._by_name[name]
        self._closing = ""
        log.info("adapter %s is no longer in memory", name)

    def _load_aside(self, name: str) -> None:
        loaded: Any
        try:
            loaded = self._load(name)
        except Exception as error:
            loaded = error
        self._loaded.append((name, loaded))
        self._wake()

    def _take_loaded(self) -> None:
        while self._loaded:
            name, loaded = self._loaded.pop()
            self._loading = ""
            if isinstance(loaded, Lane):
                self._by_name[name] = loaded
                log.info("adapter %s is in memory", name)
            else:
                self._fail(name, loaded)

    def _fail(self, name: str, error: Exception) -> None:
        """End the requests that wait for an adapter that cannot be loaded."""
        log.error("adapter %s cannot be loaded", name, exc_info=error)
        for active in [*self._waiting]:
            if active.request.sampling.lora == name:
                self._waiting.remove(active)
                self._scheduler.finish(active, EngineError(f"adapter {name} cannot be loaded: {error}"))
