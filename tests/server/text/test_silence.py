# SPDX-License-Identifier: Apache-2.0
"""A stream whose text is held back is not silent, and its slot is free within 1.5 s of the client disconnect.

Each client leaves a second after its request began to run or to wait. Triton's HTTP server sees a closed
connection only after a stream's first response. A step of the engine takes 0.1 s, and steps are counted: on a
busy machine they take longer as all else does.
"""

import contextlib
import http.client
import json
import shutil
import socket
import time

import msgspec
import pytest
import tritonclient.grpc as grpcclient

from llm_ensemble.manifest import TOKENIZER, read_manifest, tokenizer_sha256, write_manifest
from tests.asking import GrpcStream, generate, generate_stream, joined, tensors
from tests.conftest import BOTH_ENGINES
from tests.server.conftest import FREE_SECONDS, tapped_server, with_limits

pytestmark = BOTH_ENGINES

QUIET_SECONDS = 1.0  # no stream is silent for longer
STEP_SECONDS = 0.1
FREE_STEPS = int(2 * FREE_SECONDS / STEP_SECONDS)  # twice that, for a busy machine
SEQUENCES = 16  # that run at a time
CLIENTS = 4

SPECIAL = 0  # </s>
BYTE_A = 4096  # added to the tokenizer: <0x61>
PROMPT = "The package manager"
ASKED = {"text_input": PROMPT, "max_tokens": 480, "ignore_eos": True, "stream": True}
LONG_PROMPT = {**ASKED, "text_input": "word " * 400, "max_tokens": 100}  # some 50 steps until its first token


def with_decoder(engine_dir, copy, *decoders):
    """A copy of an engine directory whose tokenizer has other decoders, and a token for the byte 0x61."""
    shutil.copytree(engine_dir, copy)
    path = copy / TOKENIZER / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [*decoders, tokenizer["decoder"]]}
    tokenizer["added_tokens"].append(
        {**tokenizer["added_tokens"][-1], "id": BYTE_A, "content": "<0x61>", "special": False}
    )
    path.write_text(json.dumps(tokenizer))
    manifest = read_manifest(copy)
    write_manifest(copy, msgspec.structs.replace(manifest, tokenizer_sha256=tokenizer_sha256(copy)))
    return copy


@contextlib.contextmanager
def slow_server(engine_dir, folder, *decoders):
    engine = with_decoder(engine_dir, folder / "decoder", *decoders)
    engine = with_limits(engine, folder / "engine", max_batch_size=SEQUENCES, max_num_tokens=SEQUENCES)
    (folder / "tap").mkdir()
    with tapped_server(engine, folder / "tap", TAP_STEP_SECONDS=STEP_SECONDS) as slow:
        yield slow


@pytest.fixture(scope="module")
def by_bytes(served_engine, tmp_path_factory):
    """Tokens may be single bytes, and a run of them waits for its end: each may spoil it."""
    with slow_server(served_engine, tmp_path_factory.mktemp("bytes"), {"type": "ByteFallback"}) as slow:
        yield slow


@pytest.fixture(scope="module")
def at_end(served_engine, tmp_path_factory):
    """The decoder replaces by a pattern, which may change all of the text until the end."""
    pattern = {"type": "Replace", "pattern": {"Regex": "q+x"}, "content": "q"}
    with slow_server(served_engine, tmp_path_factory.mktemp("end"), {"type": "Fuse"}, pattern) as slow:
        yield slow


class HttpClient:
    """Asks /generate_stream and reads what comes; leaves by closing its connection."""

    def __init__(self, server, request_id, fields):
        self._connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=60)
        body = json.dumps({**fields, "id": request_id})
        self._connection.request("POST", "/v2/models/ensemble/generate_stream", body)

    def leave(self):
        """With nothing left unread, as a client that reads each event does: else the kernel sends a reset."""
        connection = self._connection.sock
        connection.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while connection.recv(65536):
                pass
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


class GrpcClient:
    """Asks by a gRPC stream; leaves by cancelling it."""

    def __init__(self, server, request_id, fields):
        self._client = grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}")
        self._client.start_stream(lambda result, error: None)
        self._client.async_stream_infer("ensemble", tensors(**fields), request_id=request_id)

    def leave(self):
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


def leave_after_a_second(slow, client, fields, request_id="", running=1, count=CLIENTS):
    """Several clients ask, each for so many sequences, and leave together."""
    slow.wait(slow.is_empty)
    clients = [client(slow.server, request_id, fields) for _ in range(count)]
    slow.wait(lambda: slow.state["running"] == count * running)
    time.sleep(1)
    for each in clients:
        each.leave()
    slow.wait_freed(FREE_STEPS)


def made(slow, *tokens):
    """The id of a request that gets these tokens, the last of them for ever."""
    ids = [token if isinstance(token, int) else slow.tokenizer.token_to_id(token) for token in tokens]
    return " ".join(["made", *map(str, ids)])


BOTH_CLIENTS = pytest.mark.parametrize("client", [HttpClient, GrpcClient])


@BOTH_CLIENTS
def test_special_tokens_alone(by_bytes, client):
    leave_after_a_second(by_bytes, client, ASKED, made(by_bytes, SPECIAL))


@BOTH_CLIENTS
def test_the_beginning_of_a_stop_string(by_bytes, client):
    stop = "a" * 255 + "b"
    leave_after_a_second(by_bytes, client, {**ASKED, "stop_words": [stop]}, made(by_bytes, "a"))


@BOTH_CLIENTS
def test_a_character_that_is_not_complete(by_bytes, client):
    """Its other bytes do not come; what comes instead decodes to nothing and does not end it either."""
    first_byte = by_bytes.tokenizer.encode("\U0001f600", add_special_tokens=False).tokens[0]
    leave_after_a_second(by_bytes, client, ASKED, made(by_bytes, first_byte, SPECIAL))


@BOTH_CLIENTS
def test_a_run_of_bytes_that_is_not_complete(by_bytes, client):
    leave_after_a_second(by_bytes, client, ASKED, made(by_bytes, BYTE_A))


@BOTH_CLIENTS
def test_a_decoder_that_waits_for_the_end(at_end, client):
    leave_after_a_second(at_end, client, ASKED)


@BOTH_CLIENTS
def test_a_beam_search(by_bytes, client):
    leave_after_a_second(by_bytes, client, {**ASKED, "beam_width": 3}, running=3)


@BOTH_CLIENTS
def test_several_sequences(by_bytes, client):
    fields = {**ASKED, "temperature": 1.0, "num_return_sequences": 3}
    leave_after_a_second(by_bytes, client, fields, made(by_bytes, SPECIAL), running=3)


@BOTH_CLIENTS
def test_a_prompt_being_read(by_bytes, client):
    """Of two clients: OpenVINO reads prompts of more than an eighth of the batch to their end (README)."""
    leave_after_a_second(by_bytes, client, LONG_PROMPT, count=SEQUENCES // 8)


@BOTH_CLIENTS
def test_waiting_in_the_queue(by_bytes, client):
    with GrpcStream(by_bytes.server) as stream:
        stream.start(**ASKED, temperature=1.0, num_return_sequences=SEQUENCES)
        by_bytes.wait(lambda: by_bytes.state["running"] == SEQUENCES)
        clients = [client(by_bytes.server, "", ASKED) for _ in range(CLIENTS)]
        by_bytes.wait(lambda: by_bytes.state["waiting"] == CLIENTS)
        time.sleep(1)
        for each in clients:
            each.leave()
        by_bytes.wait_freed(FREE_STEPS, lambda: by_bytes.state["waiting"] == 0)
        assert by_bytes.state["running"] == SEQUENCES, "one was let in before it left"
    by_bytes.wait(by_bytes.is_empty)


def test_empty_responses_change_neither_text_nor_usage(at_end):
    asked = {"max_tokens": 40, "ignore_eos": True, "return_log_probs": True}
    plain = generate(at_end.server, PROMPT, **asked)
    began = time.monotonic()
    *before, last = generate_stream(at_end.server, PROMPT, **asked)
    seconds = time.monotonic() - began
    with GrpcStream(at_end.server) as stream:
        over_grpc = list(stream.ask(text_input=PROMPT, **asked, stream=True))
    for responses in ([*before, last], over_grpc):
        assert joined(responses) == plain["text_output"]
        assert sum(response["num_output_tokens"] for response in responses) == 40
        assert len(responses) > 40 * STEP_SECONDS / QUIET_SECONDS
    assert len(before) >= seconds // QUIET_SECONDS, "it was silent for longer than a second"
    assert {(r["text_output"], r["finish_reason"], r["num_output_tokens"]) for r in before} == {("", "", 0)}
    assert len(last["output_log_probs"]) == 40
    assert last["cum_log_probs"] == pytest.approx(plain["cum_log_probs"], abs=0.1)
