# SPDX-License-Identifier: Apache-2.0
"""What travels between the three steps of the ensemble, and its one encoding.

Preprocessing sends input_ids and one Request; the engine step answers with Chunks. Both travel as
msgpack in a UINT8 tensor: numpy holds it without making an object of every string, which a BYTES tensor
would, and a field added here touches no config.pbtxt.
"""

from __future__ import annotations

import secrets

import msgspec
import numpy as np
import numpy.typing as npt

from llm_ensemble.sampling import Sampling

# Whoever forwards a request chooses the number of its stream, to abort it and to know its answer; the
# engine step counts its own from 1.
CHOSEN = 2**63
PER_INSTANCE = 2**48  # numbers that each instance of the engine step has for its streams
Wire = npt.NDArray[np.uint8]  # shape [1, n]: a batch of one record of n bytes


class TextOptions(msgspec.Struct, frozen=True, array_like=True):
    """What postprocessing must know of a request.

    It rides through the engine step on the first chunk, because a step behind a decoupled one may read
    that step's tensors alone (Triton's rule).
    """

    stream: bool
    stop_words: list[str]
    echo: str  # the prompt when the client wants it in front of the completion, else ""
    num_input_tokens: int
    num_sequences: int = 1
    log_probs: bool = False
    arrived: float = 0.0  # time.monotonic() in preprocessing; on Linux one clock for all processes
    prompt: str = ""  # for the log, if it may have it


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Everything a request says but its input_ids."""

    sampling: Sampling
    text: TextOptions
    deadline: float  # time.monotonic() by which it ends; on Linux one clock for all processes


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Some of one sequence's tokens.

    index: which of the request's sequences. token_ids: new tokens; an end token is not among them.
    finish: "" until the sequence's last, then stop, length, timeout or cancelled.
    log_probs: one a token when the request asked for them, else none.
    """

    index: int
    token_ids: list[int]
    finish: str = ""
    log_probs: list[float] = []


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """What a stream's sequences made since the chunk before.

    stream: the engine step's number for the request. number: 0, 1, 2 ... within the stream. parts: at most
    one a sequence, none in a chunk that only gives postprocessing a chance to see that the client left.
    last: nothing follows. error: why the engine gave the stream up, then it is the last.
    text: on chunk 0 only.
    """

    stream: int
    number: int
    parts: list[Part]
    last: bool = False
    error: str = ""
    text: TextOptions | None = None


def choose_number() -> int:
    """A stream's number, from CHOSEN on; by chance, so that nobody else's request can take it on purpose."""
    return CHOSEN + secrets.randbelow(2**59)


def instance_of(number: int) -> int:
    """Which instance of the engine step gave a stream this number, which is below CHOSEN."""
    return number // PER_INSTANCE


def to_wire(record: Request | Chunk) -> Wire:
    """Encode a record as a UINT8 array of shape [1, n]."""
    return np.frombuffer(msgspec.msgpack.encode(record), dtype=np.uint8).reshape(1, -1)


_request_decoder = msgspec.msgpack.Decoder(Request)
_chunk_decoder = msgspec.msgpack.Decoder(Chunk)


def request_from_wire(array: Wire) -> Request:
    """Decode a Request; raises msgspec.DecodeError when the bytes are not one."""
    return _request_decoder.decode(array.tobytes())


def chunk_from_wire(array: Wire) -> Chunk:
    """Decode a Chunk; raises msgspec.DecodeError when the bytes are not one."""
    return _chunk_decoder.decode(array.tobytes())
