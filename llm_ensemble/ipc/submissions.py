# SPDX-License-Identifier: Apache-2.0
"""Requests of ensemble_unary, sent to the engine stage beside Triton.

As a request of the ensemble, made by a BLS call, each would pass through Triton eight times
(docs/performance.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from llm_ensemble.contract.request import Chunk, Submission
from llm_ensemble.ipc.chunks import ChunkSender
from llm_ensemble.ipc.mailbox import Mailbox, Sender


def _submissions(instance: int) -> str:
    return f"submissions.{instance}"


def ensemble_unary(instance: int) -> str:
    """Return the name of an instance of ensemble_unary, as an owner of streams."""
    return f"ensemble_unary.{instance}"


class SubmissionSender:
    """ensemble_unary's side. engines: instances of the engine stage, which take turns as at Triton."""

    def __init__(self, engines: int) -> None:
        self._senders = [Sender(_submissions(instance)) for instance in range(engines)]
        self._turns = itertools.cycle(range(engines))
        self._encoder = msgspec.msgpack.Encoder()

    def next_engine(self) -> int:
        """Return the instance of the engine stage whose turn it is."""
        return next(self._turns)

    def send(self, engine: int, submission: Submission) -> None:
        """Send a request to an instance of the engine stage. Raise EngineError."""
        self._senders[engine].send(self._encoder.encode(submission))

    def gone(self) -> list[int]:
        """Return the instances whose process has ended: their streams get no chunks any more."""
        return [engine for engine, sender in enumerate(self._senders) if sender.is_cut]


def receive_submissions(
    instance: int, on_submission: Callable[[Submission, Callable[[Chunk], None]], None]
) -> Mailbox:
    """Call `on_submission` with each request for this engine's instance, and what sends its chunks back."""
    decoder, chunks = msgspec.msgpack.Decoder(Submission), ChunkSender()

    def take(message: bytes) -> None:
        submission = decoder.decode(message)
        on_submission(submission, chunks.to(ensemble_unary(submission.owner)))

    return Mailbox(_submissions(instance), take)
