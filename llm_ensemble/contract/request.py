# SPDX-License-Identifier: Apache-2.0
"""The records that travel between the stages, and their one encoding.

Preprocessing sends prompt_ids and one Request, the engine stage answers with Pulses: through Triton, as
msgpack in a UINT8 tensor. numpy holds it without making an object of every string, which a BYTES tensor
would, and a field added here changes no config.pbtxt. Chunks (ipc/chunks.py) and Submissions
(ipc/submissions.py) go beside Triton.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import Overloaded, RequestError

Wire = npt.NDArray[np.uint8]  # shape [1, n]: a batch of one record of n bytes


class TextOptions(msgspec.Struct, frozen=True, array_like=True):
    """The part of a request that postprocessing needs.

    It travels through the engine stage on the first pulse: behind a decoupled model an ensemble passes on
    that model's tensors alone (a rule of Triton's).
    """

    stream: bool
    stop_words: list[str]
    echo: str  # the prompt when the client wants it in front of the completion, else ""
    num_input_tokens: int
    num_sequences: int = 1
    log_probs: bool = False
    top_log_probs: int = 0
    arrived: float = 0.0  # time.monotonic() in preprocessing; on Linux one clock for all processes
    prompt: str = ""  # for the log; empty unless LOG_TEXT is set
    skip_special_tokens: bool = True
    lora: str = ""  # for the log


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A request without the ids of its prompt."""

    sampling: Sampling
    text: TextOptions
    deadline: float  # time.monotonic() by which it ends; on Linux one clock for all processes


class Part(msgspec.Struct, frozen=True, array_like=True):
    """New tokens of one sequence.

    index: of the sequence within the request. token_ids: without an end token. finish: "" until the last part
    of the sequence, then stop, length, timeout or cancelled. log_probs: one a token if requested, else none.
    top_ids, top_log_probs: as many a token as requested, the most probable first.
    """

    index: int
    token_ids: list[int]
    finish: str = ""
    log_probs: list[float] = []
    top_ids: list[int] = []
    top_log_probs: list[float] = []


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why a submission was rejected: a RequestError of this field, or Overloaded, which has none."""

    field: str
    text: str

    @classmethod
    def of(cls, error: RequestError | Overloaded) -> Refusal:
        """Return the refusal that says the same."""
        if isinstance(error, RequestError):
            return cls(error.field, error.problem)
        return cls("", error.load)

    @property
    def error(self) -> RequestError | Overloaded:
        """The error that it stands for."""
        return RequestError(self.field, self.text) if self.field else Overloaded(self.text)


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """New tokens of a stream since the chunk before.

    stream: the StreamId, as a plain integer: msgspec encodes and decodes those ten times as fast. parts: at
    most one a sequence; none in a chunk that only says that the stream is alive. last: no chunk follows.
    error: why the engine gave up the stream; that chunk is the last. refusal: why a submission became no
    stream; that chunk is the only one.
    """

    stream: int
    parts: list[Part]
    last: bool = False
    error: str = ""
    refusal: Refusal | None = None


class Submission(msgspec.Struct, frozen=True, array_like=True):
    """A request of ensemble_unary to the engine stage.

    stream: the StreamId. owner: the instance of ensemble_unary, which gets the chunks. label: the request id
    of the client, for the log.
    """

    stream: int
    owner: int
    input_ids: list[int]
    request: Request
    label: str = ""


class Pulse(msgspec.Struct, frozen=True, array_like=True):
    """What makes Triton ask postprocessing for a stream, now and then while the stream is open.

    The first gives the stream a way to respond and has its options; Triton marks each that follows a client
    disconnect. stream: the StreamId. engine: the instance of the engine stage that runs it.
    """

    stream: int
    engine: int
    text: TextOptions | None = None


def to_wire(record: Request | Pulse) -> Wire:
    """Return a record encoded as a UINT8 array of shape [1, n]."""
    return np.frombuffer(msgspec.msgpack.encode(record), dtype=np.uint8).reshape(1, -1)


_request_decoder = msgspec.msgpack.Decoder(Request)
_pulse_decoder = msgspec.msgpack.Decoder(Pulse)


def request_from_wire(array: Wire) -> Request:
    """Return the Request encoded in an array. Raise msgspec.DecodeError if there is none."""
    return _request_decoder.decode(array.tobytes())


def pulse_from_wire(array: Wire) -> Pulse:
    """Return the Pulse encoded in an array. Raise msgspec.DecodeError if there is none."""
    return _pulse_decoder.decode(array.tobytes())
