# SPDX-License-Identifier: Apache-2.0
"""The reply to one request: asks the ensemble, sends the answer, ends both when the client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from llm_ensemble_client import AsyncClient, ClientError
from openai_frontend.errors import ApiError, from_client, internal
from openai_frontend.generation.answer import Answer
from openai_frontend.generation.asking import Arrivals, Asked, ClientLeft
from openai_frontend.generation.events import Events, error_event
from openai_frontend.generation.pieces import Usage, failure, pieces
from openai_frontend.request_ids import HEADER, request_id, trace_headers
from openai_frontend.telemetry.observe import log_fields

Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")
EVENTS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx passes each event on at once
)
LOG = logging.getLogger(__name__)


class Reply(HttpResponse):
    """An ASGI application for one request, whose body has been read.

    echoes: with what the text of each prompt begins. at_once: prompts that are asked at the same time.
    """

    def __init__(
        self, client: AsyncClient, asked: Asked, answer: Answer, echoes: Sequence[str], at_once: int
    ) -> None:
        super().__init__()
        self._client, self._asked, self._answer = client, asked, answer
        self._echoes, self._at_once = echoes, at_once
        self._usage = Usage()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. Raise ApiError if nothing was sent."""
        origin = request_id(scope)
        arrivals = Arrivals(self._client, self._asked, origin, trace_headers(scope), self._at_once)
        watcher = asyncio.create_task(_watch(receive, arrivals))
        send_it = self._send_events if self._asked.is_streamed else self._send_whole
        try:
            await send_it(arrivals, send, (HEADER, origin.encode()))
        except ClientLeft:
            return
        except ClientError as error:
            raise from_client(error, self._asked.names) from error
        finally:
            if self._usage.prompts:
                log_fields(scope).update(tokens_in=self._usage.prompt, tokens_out=self._usage.completion)
            watcher.cancel()
            await arrivals.close()

    async def _send_whole(self, arrivals: Arrivals, send: Send, header: Header) -> None:
        arrived = []
        while taken := await arrivals.take():
            arrived += taken
        self._usage.add(arrived)
        choices = sorted(pieces(arrived, self._asked.sequences), key=lambda piece: piece.index)
        for choice in choices:
            if error := failure(choice):
                raise error
            choice.text = self._echoes[choice.index // self._asked.sequences] + choice.text
        body = self._answer.whole(choices, self._usage)
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [JSON, length, header]})
        await send({"type": "http.response.body", "body": body})

    async def _send_events(self, arrivals: Arrivals, send: Send, header: Header) -> None:
        """Send the events; the status with the first, so that what is refused has one of its own."""
        events = Events(self._answer, self._asked.sequences, self._echoes, self._usage)
        body, is_last = events.next(await arrivals.take_first())
        if events.failure:
            raise events.failure
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENTS, header]})
        body = events.opening() + body
        while not is_last:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body, is_last = await self._next(arrivals, events, header)
        await send({"type": "http.response.body", "body": body})

    async def _next(self, arrivals: Arrivals, events: Events, header: Header) -> tuple[bytes, bool]:
        """Wait for what comes next; return its events, and whether these are the last."""
        try:
            taken = await arrivals.take()
            return events.next(taken) if taken else (events.closing(), True)
        except ClientLeft:
            raise
        except Exception as error:
            return error_event(self._shown(error, header)), True

    def _shown(self, error: Exception, header: Header) -> ApiError:
        if isinstance(error, ClientError):
            return from_client(error, self._asked.names)
        LOG.error("request %s failed", header[1].decode(), exc_info=error)
        return internal()


async def _watch(receive: Receive, arrivals: Arrivals) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    arrivals.leave()
