# SPDX-License-Identifier: Apache-2.0
"""What one request of OpenAI's API asks of the ensemble, and the asking: a request of it for each prompt."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_ensemble_client import AsyncClient, Response

ALL_THAT_FITS = -1  # max_tokens
SILENT_SECONDS = 1.0  # for prompts that are refused with another one: some milliseconds
Arrived = tuple[int, Response]  # the number of a prompt, and a response to it


@dataclass(frozen=True)
class Asked:
    """What is asked, in the contract's fields.

    prompts: the fields of each. sampling: those of all. names: OpenAI's names of the contract's fields, for
    errors. has_usage: whether a stream ends with the usage. echo: whether a text begins with its prompt.
    """

    prompts: Sequence[Mapping[str, Any]]
    sampling: Mapping[str, Any]
    names: Mapping[str, str]
    is_streamed: bool
    has_usage: bool
    echo: bool = False

    @property
    def sequences(self) -> int:
        """Sequences a prompt."""
        n: int = self.sampling.get("num_return_sequences") or self.sampling.get("beam_width") or 1
        return n


def with_adapter(asked: Asked, adapter: str) -> Asked:
    """Return what is asked, of a LoRA adapter; as it is without one."""
    if not adapter:
        return asked
    return dataclasses.replace(
        asked,
        sampling={**asked.sampling, "lora_name": adapter},
        names={**asked.names, "lora_name": "model"},
    )


class Arrivals:
    """The responses of all prompts, as they come. Those that nobody has taken yet wait here.

    The tasks that read responses never wait for the client that they are for. So a client that takes them
    slowly gets several at once, and its responses do not fill Triton's memory.
    """

    def __init__(
        self, client: AsyncClient, asked: Asked, request_id: str, headers: Mapping[str, str], at_once: int
    ) -> None:
        """Ask. headers: by which the request's trace goes on. at_once: prompts asked at the same time."""
        self._client, self._asked = client, asked
        self._request_id, self._headers = request_id, headers
        self._at_once = min(at_once, len(asked.prompts))
        self._places = asyncio.Semaphore(at_once)
        self._waiting: list[Arrived] = []
        self._heard: set[int] = set()
        self._silent: set[int] = set()  # asked, and no response yet
        self._error: Exception | None = None
        self._has_left = False
        self._change = asyncio.Event()
        self._readers = [asyncio.create_task(self._read(number)) for number in range(len(asked.prompts))]
        self._reading = len(self._readers)

    async def take(self) -> list[Arrived]:
        """Wait for responses; return all that are there, each with its prompt's number; none after the last.

        Raise ClientError, when those before it were taken, and ClientLeft.
        """
        while not self._waiting:
            if self._has_left:
                raise ClientLeft
            if self._error:
                raise self._error
            if not self._reading:
                return []
            self._change.clear()
            await self._change.wait()
        taken, self._waiting = self._waiting, []
        return taken

    async def take_first(self) -> list[Arrived]:
        """Do as take() does, when each prompt that is asked now has got a response, or one an error.

        So one that is refused ends the request before anything is sent.
        """
        while len(self._heard) < self._at_once and self._reading and not (self._has_left or self._error):
            self._change.clear()
            await self._change.wait()
        if self._error:
            self._waiting.clear()
        return await self.take()

    def leave(self) -> None:
        """Let take() raise ClientLeft."""
        self._has_left = True
        self._waiting.clear()
        self._change.set()

    async def close(self) -> None:
        """Abort what has not ended.

        After an error, other prompts are mostly refused by the same one at the same time. A call that is
        cancelled between its error and its end leaves a reference in tritonserver 2.51.0, which then does not
        stop: so those that are silent have time to say so.
        """
        silent = [self._readers[number] for number in self._silent] if self._error else []
        for reader in self._readers:
            if reader not in silent:
                reader.cancel()
        if silent:
            await asyncio.wait(silent, timeout=SILENT_SECONDS)
            for reader in silent:
                reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _read(self, number: int) -> None:
        try:
            if len(self._readers) > 1:
                async with self._places:
                    await self._ask(number)
            else:
                await self._ask(number)
        except Exception as error:  # raised where it is handled, by take()
            self._error = self._error or error
        finally:
            self._reading -= 1
            self._change.set()

    async def _ask(self, number: int) -> None:
        several = len(self._asked.prompts) > 1
        responses = self._client.responses(
            **self._asked.prompts[number],
            **self._asked.sampling,
            stream=self._asked.is_streamed,
            request_id=f"{self._request_id}-{number}" if several else self._request_id,
            headers=self._headers,
        )
        self._silent.add(number)
        try:
            async with responses:
                async for response in responses:
                    self._waiting.append((number, response))
                    self._heard.add(number)
                    self._silent.discard(number)
                    self._change.set()
        finally:
            self._silent.discard(number)


class ClientLeft(Exception):
    """The client has closed its connection."""
