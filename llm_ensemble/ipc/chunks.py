# SPDX-License-Identifier: Apache-2.0
"""Chunks, sent from the engine stage to postprocessing beside Triton; and the claims that say where to.

As requests of Triton's, chunks cost far more, and the next chunk of a stream may reach any instance of
postprocessing. So the instance that gets a stream's first pulse claims the stream, and then gets its chunks,
in their order, through one socket.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import msgspec

from llm_ensemble.contract.request import Chunk, Part
from llm_ensemble.ipc.mailbox import Mailbox, Messages, Sender

READ_BYTES = 2**18
HEADER = struct.Struct("!i")  # in front of each message of multiprocessing.connection: its length


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """An instance of postprocessing (`owner`) asks for the chunks of a stream."""

    stream: int
    owner: int


def _postprocessing(instance: int) -> str:
    return f"postprocessing.{instance}"


def _claims(instance: int) -> str:
    return f"claims.{instance}"


class ChunkSender:
    """The engine stage's side: sends chunks to the instances of postprocessing."""

    def __init__(self) -> None:
        self._send: dict[int, Callable[[Chunk], None]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def to(self, owner: int) -> Callable[[Chunk], None]:
        """Return what sends a chunk to an instance, the same each time; it raises EngineError."""
        if owner not in self._send:
            sender = Sender(_postprocessing(owner))
            self._send[owner] = lambda chunk: sender.send(self._encoder.encode(chunk))
        return self._send[owner]


def receive_claims(instance: int, on_claim: Callable[[int, Callable[[Chunk], None]], None]) -> Mailbox:
    """Call `on_claim` with each claimed stream of this engine's instance, and with what sends its chunks."""
    decoder, chunks = msgspec.msgpack.Decoder(Claim), ChunkSender()

    def take(message: bytes) -> None:
        claim = decoder.decode(message)
        on_claim(claim.stream, chunks.to(claim.owner))

    return Mailbox(_claims(instance), take)


class ClaimSender:
    """Postprocessing's side. owner: its instance. engines: instances of the engine stage."""

    def __init__(self, owner: int, engines: int) -> None:
        self._owner = owner
        self._senders = [Sender(_claims(instance)) for instance in range(engines)]

    def claim(self, stream: int, engine: int) -> None:
        """Ask for the chunks of a stream of the engine stage's instance `engine`. Raise EngineError."""
        self._senders[engine].send(msgspec.msgpack.encode(Claim(int(stream), self._owner)))


class ChunkReceiver(Messages[Chunk]):
    """Calls `on_chunk` with the chunks for this instance, from a thread an engine, a stream's in their order.

    Chunks of one stream that came while others were worked on become one: a server that lags behind responds
    less often, and not later and later.
    """

    def __init__(self, instance: int, on_chunk: Callable[[Chunk], None]) -> None:
        self._decoder = msgspec.msgpack.Decoder(Chunk)
        super().__init__(_postprocessing(instance), on_chunk)

    def _from(self, connection: Connection) -> Iterator[Chunk]:
        waiting: dict[int, Chunk] = {}  # by stream, the longest waiting first
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            frames = Frames(ours)
            while True:
                for message in frames.read(wait=not waiting):
                    chunk = self._decoder.decode(message)
                    had = waiting.get(chunk.stream)
                    waiting[chunk.stream] = merged(had, chunk) if had else chunk
                if waiting:
                    yield waiting.pop(next(iter(waiting)))


class Frames:
    """Reads what multiprocessing.connection wrote, all that is there by one system call."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._bytes = b""

    def read(self, *, wait: bool) -> Iterator[bytes]:
        """Yield the messages that are there; wait for some bytes first, or not. Raise EOFError at the end."""
        try:
            more = self._socket.recv(READ_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not more:
            raise EOFError
        self._bytes += more
        begin = 0
        while len(self._bytes) - begin >= HEADER.size:
            (length,) = HEADER.unpack_from(self._bytes, begin)
            end = begin + HEADER.size + length
            if end > len(self._bytes):
                break
            yield self._bytes[begin + HEADER.size : end]
            begin = end
        self._bytes = self._bytes[begin:]


def merged(first: Chunk, second: Chunk) -> Chunk:
    """Return two chunks of a stream as one."""
    parts = {part.index: part for part in first.parts}
    for part in second.parts:
        had = parts.get(part.index)
        parts[part.index] = joined(had, part) if had else part
    return Chunk(first.stream, [*parts.values()], second.last, second.error)


def joined(first: Part, second: Part) -> Part:
    """Return two parts of a sequence as one."""
    return Part(
        first.index,
        first.token_ids + second.token_ids,
        second.finish,
        first.log_probs + second.log_probs,
        first.top_ids + second.top_ids,
        first.top_log_probs + second.top_log_probs,
    )
