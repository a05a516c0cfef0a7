# SPDX-License-Identifier: Apache-2.0
"""The text of a request is the decode of its token ids, all at once, whatever way it came.

The ids do not reach a client, so the server runs a repository whose engine step is the real one with a
tap: it writes each chunk's ids down, by request id, on their way to postprocessing.
"""

import collections
import concurrent.futures
import json
import shutil

import pytest

from build_scripts.tritonserver import MODEL_REPOSITORY, free_ports, running
from llm_ensemble.prompt import load_tokenizer
from tests.asking import GrpcStream, generate, joined

TAP = """
import importlib.util
import json

from llm_ensemble import triton

spec = importlib.util.spec_from_file_location("real_model", {real!r})
real_model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real_model)
TritonPythonModel = real_model.TritonPythonModel
chunk_sender = triton.chunk_sender


def tapped(request):
    send, request_id = chunk_sender(request), request.request_id()

    def tap(chunk):
        with open({log!r}, "a") as log:
            log.write(json.dumps([request_id, chunk.token_ids]) + "\\n")
        send(chunk)

    return tap


triton.chunk_sender = tapped
"""
OPENINGS = [
    "The server",
    "If you want to",
    "A package",
    "In this chapter,",
    "Naïve café — “日本語” 👩‍👩‍👧",
    "Note that",
]
PROMPTS = [f"{OPENINGS[i % len(OPENINGS)]} {i}" for i in range(200)]


@pytest.fixture(scope="module")
def tapped(demo_engine, tmp_path_factory):
    """A server whose engine step writes ids down, and where it writes them."""
    folder = tmp_path_factory.mktemp("tapped")
    repository, ids, log = folder / "models", folder / "ids", folder / "log"
    shutil.copytree(MODEL_REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    real = str(MODEL_REPOSITORY / "tensorrt_llm/1/model.py")
    (repository / "tensorrt_llm/1/model.py").write_text(TAP.format(real=real, log=str(ids)))
    with log.open("wb") as file, running(demo_engine, free_ports(), file, repository) as server:
        server.wait_ready()
        yield server, ids


def sampled(i):
    """Half of the requests greedy, half at a temperature that brings rare bytes up."""
    return {"temperature": 1.8, "seed": i} if i % 2 else {}


def stream_text(server, i):
    with GrpcStream(server) as stream:
        asked = stream.ask(text_input=PROMPTS[i], max_tokens=64, stream=True, request_id=str(i), **sampled(i))
        return joined(asked)


def test_200_streams_32_at_a_time_are_the_decode_of_their_ids(tapped, demo_engine):
    server, path = tapped
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda i: stream_text(server, i), range(len(PROMPTS))))
    ids = collections.defaultdict(list)
    for line in path.read_text().splitlines():
        request_id, token_ids = json.loads(line)
        ids[int(request_id)] += token_ids
    tokenizer = load_tokenizer(demo_engine)
    assert len(ids) == 200
    assert texts == [tokenizer.decode(ids[i]) for i in range(200)]
    assert any("\ufffd" in text for text in texts), "no stream had an invalid byte: raise the temperature"


def test_200_streams_one_at_a_time_are_the_plain_text_of_the_same_greedy_request(server):
    for i, prompt in enumerate(PROMPTS):
        with GrpcStream(server) as stream:
            streamed = joined(stream.ask(text_input=prompt, max_tokens=32, stream=True))
        assert streamed == generate(server, prompt, max_tokens=32)["text_output"], i
