# SPDX-License-Identifier: Apache-2.0
"""Aborts of streams, sent to the engine stage by the stages before and after it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import EngineError
from llm_ensemble.ipc.mailbox import Mailbox, Sender

log = logging.getLogger(__name__)


def _owner(instance: int) -> str:
    return f"tensorrt_llm.{instance}"


class AbortSender:
    """Sends aborts. instances: of the engine stage."""

    def __init__(self, instances: int) -> None:
        self._senders = [Sender(_owner(instance)) for instance in range(instances)]

    def abort(self, stream_id: StreamId) -> None:
        """Abort a stream, without waiting for it. No-op if it has ended, or if no instance runs it."""
        for sender in self._senders_to(stream_id):
            try:
                sender.send(stream_id.to_bytes(8, "big"))
            except EngineError as error:
                log.error("stream %d could not be aborted: %s", stream_id, error)

    def _senders_to(self, stream_id: StreamId) -> list[Sender]:
        instance = stream_id.instance
        if instance is None:  # only Triton knows which instance it gave the stream to
            return self._senders
        return self._senders[instance : instance + 1]


def receive_aborts(instance: int, abort: Callable[[StreamId], None]) -> Mailbox:
    """Call `abort` for each stream to be aborted in this instance, until the process ends."""
    return Mailbox(_owner(instance), lambda message: abort(StreamId.from_bytes(message, "big")))
