# SPDX-License-Identifier: Apache-2.0
"""After a client disconnect the request is aborted on the server, long before it has its tokens."""

import asyncio
import threading

import pytest

from llm_ensemble_client import AsyncClient, Client, ClientError
from tests.client.conftest import WAYS
from tests.server.conftest import FREE_STEPS
from tests.waiting import SECONDS

ASKED = {"max_tokens": 500, "ignore_eos": True}
PROMPT = "The package manager"
BLOCKING = [way for way in WAYS if not way.is_async]
ASYNCIO = [way for way in WAYS if way.is_async]


def wait_running(quiet):
    """Wait until the request is seen to run: the tap writes its state down now and then."""
    quiet.wait(lambda: quiet.state["running"] == 1)


@pytest.mark.parametrize("way", BLOCKING, ids=lambda way: way.protocol)
@pytest.mark.parametrize("leave", ["break", "close", "with", "del"])
def test_ending_a_blocking_stream_early_aborts_its_request(quiet, way, leave):
    with Client(way.url(quiet.server)) as client:
        stream = client.stream(PROMPT, **ASKED)
        for _ in stream:
            wait_running(quiet)
            if leave == "break":
                break
            if leave == "close":
                stream.close()
            if leave == "with":
                with stream:
                    pass
            if leave == "del":
                break
        if leave == "del":
            stream = client.stream(PROMPT, **ASKED)
            next(stream)
            wait_running(quiet)
            del stream
        quiet.wait_freed(FREE_STEPS)  # the client is still open: the stream alone has ended


@pytest.mark.parametrize("way", ASYNCIO, ids=lambda way: way.protocol)
@pytest.mark.parametrize("leave", ["break", "close", "cancel"])
def test_ending_an_asyncio_stream_early_aborts_its_request(quiet, way, leave):
    async def read(client):
        stream = client.stream(PROMPT, **ASKED)
        async for _ in stream:
            if leave == "break":
                break
            if leave == "close":
                stream.close()
        return stream

    async def left():
        async with AsyncClient(way.url(quiet.server)) as client:
            task = asyncio.ensure_future(read(client))
            if leave == "cancel":
                await asyncio.to_thread(wait_running, quiet)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await task
            await asyncio.to_thread(quiet.wait_freed, FREE_STEPS)

    asyncio.run(left())


@pytest.mark.parametrize("way", BLOCKING, ids=lambda way: way.protocol)
def test_another_thread_closes_a_stream_that_waits(quiet, way):
    with Client(way.url(quiet.server), retries=False) as client:
        stream = client.stream(PROMPT, **ASKED)
        next(stream)
        ended = []

        def read():
            try:
                ended.append("".join(stream))
            except ClientError as error:
                ended.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        wait_running(quiet)
        stream.close()
        quiet.wait_freed(FREE_STEPS)
        reader.join(SECONDS)
        assert ended


def test_a_grpc_call_that_takes_too_long_is_cancelled(quiet):
    with Client(BLOCKING[1].url(quiet.server), timeout=0.5) as client:
        with pytest.raises(ClientError, match="0.5 s"):
            client.generate(PROMPT, **ASKED)
        quiet.wait_freed(FREE_STEPS)


def test_a_failed_stream_leaves_the_model_free(way, quiet):
    """The fixture's server must end with 0: 2.51.0 does not after a cancel that follows an error."""
    for _ in range(3):
        with pytest.raises(ClientError, match="max_tokens"):
            way.stream(quiet.server, PROMPT, max_tokens=0)
