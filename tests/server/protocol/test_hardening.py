# SPDX-License-Identifier: Apache-2.0
"""What docs/security.md says of hostile callers, where no other test has it: the server lives on."""

import concurrent.futures
import http.client
import json
import socket
import urllib.parse

import grpc
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from serving.server_options import STACK_BYTES
from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, as_infer, generate, is_newer, post, tensors
from tests.processes import descendants
from tests.server.conftest import tapped_server

MB = 1_000_000
PATHS = (("generate", "ensemble"), ("generate_stream", "ensemble"), ("infer", "ensemble_unary"))
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def target(demo_engine, tmp_path_factory):
    """A server of this module's own: what ends it must fail these tests alone."""
    log = tmp_path_factory.mktemp("target") / "log"
    with log.open("wb") as file, running(demo_engine, free_ports(), file) as server:
        server.wait_ready()
        server.log = log
        yield server
    assert server.process.returncode == 0, log.read_text()[-3000:]


@pytest.fixture
def unmoved(target):
    """The server, which must answer afterwards as it did before."""
    before = generate(target, "The server", max_tokens=8)["text_output"]
    yield target
    assert generate(target, "The server", max_tokens=8)["text_output"] == before
    assert target.process.poll() is None


def test_the_server_s_threads_have_room_on_their_stacks(target):
    with open(f"/proc/{target.process.pid}/limits") as limits:
        (line,) = [line for line in limits if line.startswith("Max stack size")]
    assert int(line.split()[3]) == STACK_BYTES


@pytest.mark.parametrize(("path", "model"), PATHS)
@pytest.mark.parametrize(
    "opening", [b"[", b'{"a":', b'{"text_input": "a", "x": ['], ids=["list", "object", "field"]
)
def test_json_nested_a_million_deep_is_refused(unmoved, path, model, opening):
    """With the usual stack of 8 MB this ended tritonserver."""
    assert post(unmoved, path, opening + b"[" * MB, model)[0] in (400, 500)


def test_json_nested_a_million_deep_and_closed_again_is_refused(unmoved):
    body = b'{"text_input": "a", "x": %s%s}' % (b"[" * MB, b"]" * MB)
    status, message = post(unmoved, "generate", body)
    assert (status, "parameter 'x' has invalid type" in message) == (400, True)


def test_a_body_in_very_many_pieces_is_refused(unmoved):
    """With the usual stack of 8 MB this ended tritonserver."""
    with socket.create_connection((unmoved.ports.host, unmoved.ports.http), timeout=60) as connection:
        connection.sendall(b"POST /v2/models/ensemble/generate HTTP/1.1\r\nHost: a\r\n")
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 600_000 + b"0\r\n\r\n")
        # 2.51.0 reads it all and finds no JSON; newer ones take 65,536 pieces at most.
        assert connection.recv(100).startswith(b"HTTP/1.1 400 " if is_newer(unmoved) else b"HTTP/1.1 500 ")


def test_compressed_bodies_are_taken_by_plain_infer_alone(unmoved):
    """So that a proxy that limits bodies has one path less to think of; of /infer docs/security.md tells."""
    connection = http.client.HTTPConnection(unmoved.ports.host, unmoved.ports.http, timeout=60)
    connection.request("POST", "/v2/models/ensemble/generate", b"{}", {"Content-Encoding": "gzip"})
    answer = connection.getresponse()
    assert (answer.status, b"content-encoding" in answer.read()) == (400, True)
    connection.close()


def test_headers_without_end_are_cut_off(unmoved):
    endless = (b"X-A: " + b"a" * 10_000 + b"\r\n" for _ in range(1000))
    with socket.create_connection((unmoved.ports.host, unmoved.ports.http), timeout=60) as connection:
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"".join(endless))


def test_two_hundred_clients_that_never_finish_their_request_delay_no_other(unmoved):
    slow = []
    for _ in range(200):
        slow.append(socket.create_connection((unmoved.ports.host, unmoved.ports.http), timeout=60))
        slow[-1].sendall(
            b"POST /v2/models/ensemble/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n{"
        )
    assert generate(unmoved, "The server", max_tokens=1)
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    "name", ["../ensemble", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e", "ensemble%00", "a" * 5000]
)
@pytest.mark.parametrize(
    "rest", ["", "/config", "/generate", "/infer", "/ready", "/stats", "/versions/..%2f1"]
)
def test_a_model_s_name_reaches_no_file(unmoved, name, rest):
    """Names are looked up among the loaded models; model control, which reads files, is closed."""
    status, text = raw(
        unmoved, "GET" if rest in ("", "/config", "/ready", "/stats") else "POST", f"/v2/models/{name}{rest}"
    )
    assert status in (400, 404, 405)
    assert "root:" not in text


def raw(server, method, path):
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=60)
    connection.request(method, path, b'{"text_input": "a"}' if method == "POST" else None)
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


def test_over_grpc_neither(unmoved):
    with grpcclient.InferenceServerClient(f"{unmoved.ports.host}:{unmoved.ports.grpc}") as client:
        for name in ("../ensemble", "../../etc/passwd", "ensemble/../..", "a" * 5000):
            with pytest.raises(InferenceServerException, match="unknown model|not found|Request for unknown"):
                client.infer(name, tensors(text_input="a"))
            with pytest.raises(InferenceServerException):
                client.get_model_config(name)


def test_a_grpc_message_of_100_mb_is_refused_like_a_small_one(unmoved):
    told = "text_input: 100000000 characters, at most 511"
    client = grpcclient.InferenceServerClient(f"{unmoved.ports.host}:{unmoved.ports.grpc}")
    with client, pytest.raises(InferenceServerException, match=told):
        client.infer("ensemble_unary", tensors(text_input="a" * 100 * MB))


@pytest.mark.parametrize(
    "message",
    [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x07", b"\x0a" * MB, b"\x2a\x02" * 10_000, bytes(range(256)) * 40],
    ids=["noise", "a length of 2 GB", "one tag", "nested", "all bytes"],
)
def test_a_grpc_message_that_is_no_protobuf_is_refused(unmoved, message):
    with grpc.insecure_channel(f"{unmoved.ports.host}:{unmoved.ports.grpc}") as channel:
        call = channel.unary_unary(INFER, request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError):
            call(message, timeout=60)


def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_refused(unmoved):
    """What the Python backend gets has been measured against what it is said to be."""
    with grpc.insecure_channel(f"{unmoved.ports.host}:{unmoved.ports.grpc}") as channel:
        call = channel.unary_unary(
            INFER,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        for shape, content in (
            ([1, 1], b"\xff\xff\xff\xff"),  # a string of 4 GB
            ([1, 1], b"\x05\0\0\0a"),
            ([1, 2**40], b"\1\0\0\0a"),
            ([1, -1], b"\1\0\0\0a"),
            ([2**62, 4], b"\1\0\0\0a"),
            ([1, 1], b""),
        ):
            request = service_pb2.ModelInferRequest(model_name="ensemble_unary")
            request.inputs.add(name="text_input", datatype="BYTES", shape=shape)
            request.raw_input_contents.append(content)
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=60)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (shape, caught.value.details())


FORGED = '\nI0101 00:00:00.000000 1 forged.cc:1] "all is well"'


def test_what_a_caller_names_begins_no_line_of_the_log(unmoved):
    for fields in (
        {"id": FORGED, "max_tokens": 0},
        {FORGED: 1},
        {"stop_words": [FORGED] * 100},
        {"id": FORGED},
    ):
        post(unmoved, "generate", {"text_input": f"a{FORGED}", "max_tokens": 1, **fields})
    post(unmoved, "infer", as_infer(text_input=FORGED, max_tokens=0), "ensemble_unary")
    with GrpcStream(unmoved) as stream:
        list(stream.ask(text_input="a", max_tokens=1, request_id=FORGED))
    raw(unmoved, "GET", f"/v2/models/{urllib.parse.quote(FORGED)}")
    assert not forged_lines(unmoved.log.read_text())


def test_an_id_that_is_logged_stays_in_its_line(tight, tmp_path):
    """An engine that fails makes us log the ids of what was open."""
    with tapped_server(tight, tmp_path, TAP_STEP_SECONDS=0.02) as dying:
        asked = {"text_input": "a", "max_tokens": 500, "ignore_eos": True}
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(post, dying.server, "generate", {**asked, "id": FORGED})
            dying.wait(lambda: dying.state["running"] == 1)
            post(dying.server, "generate", {**asked, "id": "die"})
        dying.wait(
            lambda: not any("tensorrt_llm" in p.command for p in descendants(dying.server.process.pid))
        )
        assert [line for line in dying.log.splitlines() if line.startswith("E") and "forged.cc" in line]
        assert not forged_lines(dying.log)


def forged_lines(log):
    return [line for line in log.splitlines() if line.startswith("I0101")]


def test_no_text_of_a_request_is_in_the_log(unmoved):
    secret = "the colour of the fox"
    status, text = post(unmoved, "generate", {"text_input": secret, "max_tokens": 4})
    made = json.loads(text)["text_output"]
    assert status == 200
    post(unmoved, "generate", {"text_input": secret, "max_tokens": 0})
    log = unmoved.log.read_text()
    assert secret not in log
    assert made not in log
