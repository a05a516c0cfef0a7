# SPDX-License-Identifier: Apache-2.0
"""The responses of a request one by one, as a server takes them that passes them on."""

import asyncio
import socket

import pytest

from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from llm_ensemble_client import AsyncClient, InvalidRequest, Overloaded, TimedOut, Unreachable
from serving.tritonserver import free_ports
from tests.client.conftest import WAYS
from tests.client.refusing import SERVERS, Asked
from tests.server.conftest import FREE_STEPS
from tests.waiting import SECONDS

PROMPT = "The package manager"
LONG = {"max_tokens": 500, "ignore_eos": True}
ASYNCIO = pytest.mark.parametrize("way", WAYS[1::2], ids=lambda way: way.protocol)
GRPC = WAYS[3]


def taken(url, *prompt, client=None, **asked):
    """Return all responses of a request."""

    async def take():
        async with AsyncClient(url, **{"timeout": SECONDS, **(client or {})}) as opened:
            return [response async for response in opened.responses(*prompt, **asked)]

    return asyncio.run(take())


@ASYNCIO
@pytest.mark.parametrize("sequences", [1, 2])  # of two OpenVINO gives all at the end of each
def test_they_are_the_text_of_generate_and_the_last_has_the_finish_reasons(server, way, sequences):
    asked = {"max_tokens": 100, "temperature": 0.8, "seed": 4, "num_return_sequences": sequences}
    whole = way.generate(server, PROMPT, **asked)
    for stream in (True, False):
        responses = taken(way.url(server), PROMPT, stream=stream, **asked)
        assert tuple(map("".join, zip(*(one.texts for one in responses)))) == whole.texts
        assert responses[-1].finish_reasons == whole.finish_reasons
        assert responses[-1].is_last
        assert not any(one.is_last for one in responses[:-1])
        assert sum(one.num_output_tokens for one in responses) == whole.num_output_tokens
        assert {one.num_input_tokens for one in responses} == {whole.num_input_tokens}
        assert stream or len(responses) == 1
        assert len(responses) > 1 or not stream or sequences > 1


@ASYNCIO
def test_a_prompt_may_be_token_ids_or_messages(server, served_engine, way):
    ids = load_tokenizer(served_engine).encode(PROMPT).ids
    of_ids, of_text = (
        taken(way.url(server), *prompt, stream=False, max_tokens=-1, **asked)
        for prompt, asked in (((), {"input_ids": ids}), ((PROMPT,), {}))
    )
    assert of_ids == of_text
    with pytest.raises(InvalidRequest, match="^messages: this model has no chat template"):
        taken(way.url(server), messages=[{"role": "user", "content": "Hello"}])


@ASYNCIO
def test_a_wrong_field_is_told_by_name_and_leaves_the_client_as_good_as_before(server, way):
    async def ask():
        async with AsyncClient(way.url(server), timeout=SECONDS) as client:
            for _ in range(3):
                with pytest.raises(InvalidRequest, match="^top_p: got 2, must be ") as caught:
                    await anext(client.responses(PROMPT, top_p=2.0))
                assert caught.value.field == "top_p"
            return [one async for one in client.responses(PROMPT, stream=False)]

    assert len(asyncio.run(ask())) == 1
    with pytest.raises(InvalidRequest, match="^temprature: unknown field"):
        taken(way.url(server), PROMPT, temprature=1)


@ASYNCIO
def test_nothing_is_retried(way):
    for how, error in (("words", Overloaded), ("after empty responses", Unreachable)):
        asked = Asked(1, how)
        with SERVERS[way.protocol](asked) as url, pytest.raises(error):
            taken(url, PROMPT)
        assert asked.times == 1


@ASYNCIO
def test_errors_of_the_connection(way):
    port = free_ports().http
    with pytest.raises(Unreachable, match=str(port)):
        taken(f"{way.protocol}://127.0.0.1:{port}", PROMPT)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"{way.protocol}://127.0.0.1:{hung.getsockname()[1]}"
        with pytest.raises(TimedOut, match="within 0.4 s"):
            taken(url, PROMPT, client={"timeout": 0.4})


@ASYNCIO
def test_the_request_id_reaches_the_stages(quiet, way):
    taken(way.url(quiet.server), PROMPT, request_id=f"named-{way.protocol}", max_tokens=3)
    assert quiet.parts(f"named-{way.protocol}")


def test_headers_are_sent_with_this_request_beside_the_client_s():
    """Over gRPC as metadata, whose names are in lower case; what it cannot carry is refused."""
    seen = []
    with SERVERS["grpc"](Asked(0, "words"), seen) as url:
        client = {"headers": {"a": "1"}}
        taken(url, PROMPT, client=client, headers={"Traceparent": "00-1"})
        taken(url, PROMPT, client=client)
        for bad in ({"a b": "1"}, {"a": "1\n2"}, {"a": "é"}, {"": "1"}):
            with pytest.raises(InvalidRequest, match="^headers: gRPC cannot send"):
                taken(url, PROMPT, headers=bad)
    ours = [{name: value for name, value in one.items() if name in ("a", "traceparent")} for one in seen]
    assert ours == [{"a": "1", "traceparent": "00-1"}, {"a": "1"}]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("leave", ["close", "cancel"])
def test_leaving_frees_the_engine_also_a_request_that_is_not_streamed(quiet, stream, leave):
    """And close() ends the iteration of the task that reads, which is not cancelled."""

    async def read(responses, got):
        async for response in responses:
            got.append(response)
        return "ended"

    async def left():
        async with AsyncClient(GRPC.url(quiet.server)) as client:
            responses, got = client.responses(PROMPT, stream=stream, **LONG), []
            task = asyncio.ensure_future(read(responses, got))
            await asyncio.to_thread(quiet.wait, lambda: quiet.state["running"] == 1)
            if leave == "close":
                responses.close()
                assert await task == "ended"
                with pytest.raises(StopAsyncIteration):
                    await anext(responses)
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert stream or not got
            await asyncio.to_thread(quiet.wait_freed, FREE_STEPS)

    asyncio.run(left())


@ASYNCIO
@pytest.mark.parametrize("leave", ["break", "with", "close while reading"])
def test_ending_a_stream_of_responses_aborts_it(quiet, way, leave):
    async def left():
        async with AsyncClient(way.url(quiet.server)) as client:
            responses = client.responses(PROMPT, **LONG)
            if leave == "with":
                async with responses:
                    await anext(responses)
            elif leave == "break":
                async for _ in responses:
                    break
            else:
                await anext(responses)
                waiting = asyncio.ensure_future(anext(responses, "ended"))
                await asyncio.sleep(0)
                responses.close()
                if await waiting != "ended":  # this response had arrived before close()
                    assert await anext(responses, "ended") == "ended"
            await asyncio.to_thread(quiet.wait_freed, FREE_STEPS)

    asyncio.run(left())


def test_leaving_at_the_last_response_does_the_server_no_harm(server):
    """The fixture's server must end with 0."""

    async def leave(client, i):
        async with client.responses(PROMPT, max_tokens=1 + i % 5, stream=bool(i % 2)) as responses:
            while not (response := await anext(responses)).is_last:
                pass
            return response

    async def all_of_them():
        async with AsyncClient(GRPC.url(server), timeout=SECONDS) as client:
            return await asyncio.gather(*(leave(client, i) for i in range(100)))

    assert all(asyncio.run(all_of_them()))
