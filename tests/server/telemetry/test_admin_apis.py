# SPDX-License-Identifier: Apache-2.0
"""The admin APIs are closed, or open with the key; serving and health are open to all clients."""

import http.client
import urllib.request

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from serving.server_options import GRPC_HEADER, HTTP_HEADER
from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, generate, is_newer, joined

KEY = "a-key-for-this-test"
REFUSED = "is restricted, expecting header"
HTTP = [
    *(("POST", "/v2/repository/index"), ("POST", "/v2/repository/models/ensemble/load")),
    *(("POST", "/v2/repository/models/ensemble/unload"), ("GET", "/v2/systemsharedmemory/status")),
    *(("POST", "/v2/systemsharedmemory/region/a/register"), ("POST", "/v2/systemsharedmemory/unregister")),
    *(("GET", "/v2/cudasharedmemory/status"), ("POST", "/v2/cudasharedmemory/region/a/register")),
    *(("GET", "/v2/trace/setting"), ("POST", "/v2/trace/setting"), ("GET", "/v2/logging")),
    *(("POST", "/v2/models/ensemble/trace/setting"), ("POST", "/v2/logging")),
]
GRPC = {
    "get_model_repository_index": (),
    "load_model": ("ensemble",),
    "unload_model": ("ensemble",),
    "get_system_shared_memory_status": (),
    "register_system_shared_memory": ("a", "/a", 8),
    "unregister_system_shared_memory": (),
    "get_cuda_shared_memory_status": (),
    "register_cuda_shared_memory": ("a", b"", 0, 8),
    "unregister_cuda_shared_memory": (),
    "get_trace_settings": (),
    "update_trace_settings": ("ensemble",),
    "get_log_settings": (),
    "update_log_settings": ({"log_verbose_level": 0},),
}


@pytest.fixture(scope="module")
def opened(demo_engine, tmp_path_factory):
    """A server with ADMIN_KEY."""
    log = tmp_path_factory.mktemp("opened") / "log"
    with log.open("wb") as file, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ADMIN_KEY", KEY)
        with running(demo_engine, free_ports(), file) as server:
            server.wait_ready()
            yield server


def ask_http(server, method, path, headers=None):
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=60)
    connection.request(method, path, b"{}" if method == "POST" else None, headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def ask_grpc(server, name, *arguments, headers=None):
    """Return the error's text, or "" if there is none."""
    with grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}") as client:
        try:
            getattr(client, name)(*arguments, headers=headers)
        except InferenceServerException as error:
            return str(error)
    return ""


@pytest.mark.parametrize(("method", "path"), HTTP)
def test_admin_apis_are_closed_over_http(server, opened, method, path):
    for headers in ({}, {HTTP_HEADER: ""}, {HTTP_HEADER: KEY}, {HTTP_HEADER: "wrong"}):
        status, text = ask_http(server, method, path, headers)
        assert (status, REFUSED in text) == (403, True), text
    for headers in ({}, {HTTP_HEADER: "wrong"}):
        assert ask_http(opened, method, path, headers)[0] == 403


@pytest.mark.parametrize("name", GRPC)
def test_admin_apis_are_closed_over_grpc(server, opened, name):
    for one, headers in (
        (server, {}),
        (server, {GRPC_HEADER: KEY}),
        (opened, {}),
        (opened, {GRPC_HEADER: "x"}),
    ):
        assert REFUSED in ask_grpc(one, name, *GRPC[name], headers=headers)


def test_the_key_opens_the_admin_apis(opened):
    # Newer Tritons share memory with clients only when started with --allow-client-shm, and say 503.
    shares = 503 if is_newer(opened) else 200
    for path, expected in (("/v2/logging", 200), ("/v2/systemsharedmemory/status", shares)):
        assert ask_http(opened, "GET", path, {HTTP_HEADER: KEY})[0] == expected, path
    for name in ("get_log_settings", "get_model_repository_index"):
        assert not ask_grpc(opened, name, headers={GRPC_HEADER: KEY})


def test_the_key_opens_the_trace_settings_too(opened):
    """A server built without tracing says so, which is no refusal either."""
    status, text = ask_http(opened, "GET", "/v2/trace/setting", {HTTP_HEADER: KEY})
    error = ask_grpc(opened, "get_trace_settings", headers={GRPC_HEADER: KEY})
    assert REFUSED not in text + error
    assert is_newer(opened) or (status, error) == (200, "")


def test_models_are_not_loaded_by_name_even_with_the_key(opened):
    status, text = ask_http(opened, "POST", "/v2/repository/models/ensemble/unload", {HTTP_HEADER: KEY})
    assert (status, "not allowed" in text) == (503, True)


def test_health_metadata_and_generation_need_no_key(server):
    for path in (
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/ensemble",
        "/v2/models/ensemble/config",
    ):
        assert ask_http(server, "GET", path)[0] == 200
    assert ask_http(server, "GET", "/v2/models/stats")[0] == 200
    for name in ("is_server_ready", "get_server_metadata", "get_inference_statistics"):
        assert not ask_grpc(server, name)
    assert not ask_grpc(server, "get_model_config", "ensemble")
    with urllib.request.urlopen(f"http://{server.ports.host}:{server.ports.metrics}/metrics") as answer:
        assert answer.status == 200
    text = generate(server, "The server", max_tokens=8)["text_output"]
    with GrpcStream(server) as stream:
        assert joined(stream.ask(text_input="The server", max_tokens=8, stream=True)) == text
