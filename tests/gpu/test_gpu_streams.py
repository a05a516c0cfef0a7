# SPDX-License-Identifier: Apache-2.0
"""Texts, ends and load on a GPU; one server for all, which the last test stops."""

import asyncio
import collections
import concurrent.futures
import time

import pytest
import tritonclient.grpc.aio as grpcclient

from llm_ensemble.manifest import read_manifest
from tests.asking import GrpcStream, generate, generate_stream, joined, tensors
from tests.gpu.conftest import WAITING
from tests.gpu.notes import crashes, gpu_memory, note
from tests.server.lifecycle.test_client_disconnect import CancelsGrpc, ClosesTheChannel, DropsHttpStream
from tests.soak import soak

PROMPTS = [f"{opening} {i}" for i in range(5) for opening in ("The server", "If you want to", "A package")]
GREEDY = {"max_tokens": 48, "ignore_eos": True}


def over_grpc(server, prompt, **fields):
    with GrpcStream(server) as stream:
        return list(stream.ask(text_input=prompt, stream=True, **fields))


def test_a_streamed_text_is_the_plain_one_over_http_and_grpc(loaded):
    for prompt in PROMPTS:
        plain = generate(loaded.server, prompt, **GREEDY)["text_output"]
        assert plain
        assert joined(generate_stream(loaded.server, prompt, **GREEDY)) == plain
        assert joined(over_grpc(loaded.server, prompt, **GREEDY)) == plain


def test_200_streams_64_at_a_time_are_the_decode_of_their_ids(loaded):
    def ask(i):
        fields = {"temperature": 2.0, "seed": i} if i % 2 else {}
        return over_grpc(
            loaded.server, PROMPTS[i % len(PROMPTS)], request_id=f"exact {i}", **GREEDY, **fields
        )

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        texts = [joined(responses) for responses in pool.map(ask, range(200))]
    ids = [loaded.sequences(f"exact {i}") for i in range(200)]
    assert [len(one[0]) for one in ids] == [GREEDY["max_tokens"]] * 200
    assert texts == [loaded.tokenizer.decode(one[0]) for one in ids]


def test_a_stop_string_ends_the_text_and_the_engine_s_work(loaded, long_tokens):
    whole = generate(loaded.server, PROMPTS[0], **GREEDY)["text_output"]
    stop = whole[len(whole) // 2 :][:4]
    asked = {"max_tokens": long_tokens, "ignore_eos": True, "stop_words": [stop]}
    plain = generate(loaded.server, PROMPTS[0], **asked)
    assert (plain["text_output"], plain["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    streamed = over_grpc(loaded.server, PROMPTS[0], request_id="stop", **asked)
    assert joined(streamed) == plain["text_output"]
    loaded.wait(loaded.is_empty)
    assert len(loaded.sequences("stop")[0]) < long_tokens / 2


@pytest.mark.parametrize("client_class", [DropsHttpStream, CancelsGrpc, ClosesTheChannel])
def test_64_dropped_streams_free_the_engine(loaded, long_tokens, client_class):
    loaded.wait(loaded.is_empty)
    fields = {"text_input": PROMPTS[0], "max_tokens": long_tokens, "ignore_eos": True, "stream": True}
    clients = [client_class(loaded.server, **fields) for _ in range(64)]
    for client in clients:
        client.send()
    loaded.wait(lambda: loaded.state["running"] == 64, seconds=20)
    dropped = time.monotonic()
    for client in clients:
        client.disconnect()
    note(f"{client_class.__name__}: seconds to disconnect 64", time.monotonic() - dropped)
    last = loaded.wait(lambda: loaded.state["running"] == 0, seconds=20)
    note(f"{client_class.__name__}: seconds from the last disconnect until nothing runs", last)
    loaded.wait(loaded.is_empty)
    assert not any(one.get("finish") == "length" for one in loaded.parts("")[-64:]), "they ran to their end"


def test_with_too_many_requests_every_one_ends_by_its_text_or_by_a_refusal(loaded):
    limit = read_manifest(loaded.engine_dir).limits.max_batch_size
    ends = asyncio.run(ask_at_once(loaded.server, 2 * limit + WAITING))
    note("overload: ends", dict(ends))
    assert set(ends) == {"length", "refused"}
    assert ends["length"] >= limit
    loaded.wait(loaded.is_empty)


async def ask_at_once(server, number):
    """Send so many streams at once; return how they ended."""
    ends = collections.Counter()

    async def ask(client, i):
        async def once():
            fields = {"text_input": f"Number {i}", "max_tokens": 100, "ignore_eos": True, "stream": True}
            yield {"model_name": "ensemble", "inputs": tensors(**fields)}

        end = ""
        async for result, error in client.stream_infer(once()):
            if error:
                full = "Exceeds maximum queue size" in error.message()
                end = "refused" if full else error.message()
            else:
                end = end or result.as_numpy("finish_reason")[0].decode()
        ends[end] += 1

    async with grpcclient.InferenceServerClient(server.ports.grpc_netloc) as client:
        await asyncio.gather(*(ask(client, i) for i in range(number)))
    return ends


def test_of_2000_requests_with_a_third_disconnected_all_end_and_none_is_left_behind(loaded):
    wrong, ends = soak(loaded, requests=2000)
    note("soak: ends", dict(ends))
    note("soak: wrong", wrong)
    assert wrong == []


def test_a_stop_is_clean_and_gives_the_gpu_back(loaded):
    loaded.wait(loaded.is_empty)
    before = gpu_memory()
    began = time.monotonic()
    status = loaded.server.stop()
    note("tapped server: seconds to stop", time.monotonic() - began)
    note("GPU memory, MiB: before and after the stop", [before, gpu_memory()])
    note("tapped server: status at the stop", status)  # 1: 2.51 waits 30 s for calls cancelled as they ended
    assert crashes(loaded.log) == []
