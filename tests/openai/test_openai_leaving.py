# SPDX-License-Identifier: Apache-2.0
"""A client that leaves frees the engine, streamed or not, and whatever its request does at that time."""

import asyncio
import itertools

import openai
import pytest

from tests.openai.frontend import MESSAGES, MODEL, PROMPT
from tests.server.conftest import FREE_STEPS

LONG = {"max_tokens": 400, "ignore_eos": True, "temperature": 1}
CALLS = {"/v1/completions": {"prompt": PROMPT}, "/v1/chat/completions": {"messages": MESSAGES}}


@pytest.mark.parametrize(("path", "stream", "n"), [*itertools.product(CALLS, [False, True], [1, 3])])
def test_leaving_while_text_is_generated(slow, path, stream, n):
    connection = slow.begin(path, {**CALLS[path], **LONG, "stream": stream, "n": n})
    slow.tapped.wait(lambda: slow.tapped.state["running"] == n)
    if stream:
        assert connection.getresponse().status == 200
    connection.close()
    slow.tapped.wait_freed(FREE_STEPS)


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_while_the_request_waits(slow, stream):
    first = slow.begin("/v1/completions", {"prompt": PROMPT, **LONG, "n": 4})
    slow.tapped.wait(lambda: slow.tapped.state["running"] == 4)
    second = slow.begin("/v1/completions", {"prompt": PROMPT, **LONG, "n": 2, "stream": stream})
    slow.tapped.wait(lambda: slow.tapped.state["waiting"] == 2)
    second.close()
    slow.tapped.wait_freed(FREE_STEPS, lambda: slow.tapped.state["waiting"] == 0)
    assert slow.tapped.state["running"] == 4
    first.close()
    slow.tapped.wait_freed(FREE_STEPS)


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_frees_every_prompt(slow, stream):
    connection = slow.begin("/v1/completions", {"prompt": [PROMPT] * 7, **LONG, "stream": stream})
    slow.tapped.wait(lambda: slow.tapped.state["running"] == 4)
    connection.close()
    slow.tapped.wait_freed(FREE_STEPS)


def test_closing_a_stream_of_openais_client(slow):
    stream = slow.openai().completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=400, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    slow.tapped.wait_freed(FREE_STEPS)


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_a_task_of_openais_asyncio_client(slow, stream):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{slow.url}/v1", api_key="none", max_retries=0) as client:
            answer = await client.completions.create(
                model=MODEL, prompt=PROMPT, max_tokens=400, stream=stream, extra_body={"ignore_eos": True}
            )
            async for _ in answer:
                pass

    async def leave():
        task = asyncio.create_task(ask())
        while slow.tapped.state["running"] == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    slow.tapped.wait_freed(FREE_STEPS)


def test_others_go_on_when_one_leaves(slow):
    stays = slow.begin("/v1/completions", {"prompt": PROMPT, **LONG, "max_tokens": 60})
    leaves = slow.begin("/v1/completions", {"prompt": PROMPT, **LONG})
    slow.tapped.wait(lambda: slow.tapped.state["running"] == 2)
    leaves.close()
    answer = stays.getresponse()
    assert (answer.status, b'"length"' in answer.read()) == (200, True)
    stays.close()
