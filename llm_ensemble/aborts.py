# SPDX-License-Identifier: Apache-2.0
"""Telling the engine, from another step, that a stream's rest is not wanted; by its instances' mailboxes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from llm_ensemble.errors import EngineError
from llm_ensemble.mailbox import Mailbox, Sender
from llm_ensemble.request import CHOSEN, instance_of

log = logging.getLogger(__name__)


def _owner(instance: int) -> str:
    return f"tensorrt_llm.{instance}"


class AbortSender:
    """The end of postprocessing and ensemble_unary. instances: of the engine, each of which is asked."""

    def __init__(self, instances: int) -> None:
        self._senders = [Sender(_owner(instance)) for instance in range(instances)]

    def abort(self, number: int) -> None:
        """End a stream early; an unknown or ended one is left alone. Does not wait for it."""
        # Where a stream runs whose number was chosen beforehand, only Triton knows: ask everybody.
        senders = self._senders if number >= CHOSEN else [self._senders[instance_of(number)]]
        for sender in senders:
            try:
                sender.send(number.to_bytes(8, "big"))
            except EngineError as error:
                log.error("stream %d could not be aborted: %s", number, error)


def receive_aborts(instance: int, abort: Callable[[int], None]) -> Mailbox:
    """The end of one instance of the engine: calls `abort` with each stream's number."""
    return Mailbox(_owner(instance), lambda note: abort(int.from_bytes(note, "big")))
