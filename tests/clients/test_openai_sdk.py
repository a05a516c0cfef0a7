# SPDX-License-Identifier: Apache-2.0
"""OpenAI's client, versions 2 and 3, unmodified: make clients-test; see docs/clients.md."""

import contextlib
import os
import subprocess
import sys

import pytest
from openai.types.shared import ErrorObject

from serving.tritonserver import ROOT, free_ports
from tests.clients.conftest import TOKENS
from tests.clients.running import CLIENTS, HERE, OPENAI_CLIENTS, answers
from tests.openai.frontend import MESSAGES, MODEL, PROMPT, Frontend
from tests.server.conftest import FREE_STEPS
from tests.waiting import wait_for

CONTENT = MESSAGES[0]["content"]
INVALID = "invalid_request_error"
# Class, status, param, code, type, and the type of what is in the exception as the body.
ERRORS = {
    "value": ["BadRequestError", 400, "temperature", None, INVALID, "dict"],
    "format": ["BadRequestError", 400, "response_format", None, INVALID, "dict"],
    "tools": ["BadRequestError", 400, "tools", None, INVALID, "dict"],
    "stream": ["BadRequestError", 400, "n", None, INVALID, "dict"],
    "model": ["NotFoundError", 404, "model", "model_not_found", INVALID, "dict"],
    "unknown field": ["BadRequestError", 400, "topk", None, INVALID, "dict"],
    "retrieve": ["NotFoundError", 404, "model", "model_not_found", INVALID],
    "embeddings": ["NotFoundError", 404, None, None, INVALID],
}
EACH_VERSION = pytest.mark.parametrize("environment", [CLIENTS, OPENAI_CLIENTS], ids=["2", "3"])


@EACH_VERSION
def test_openais_client(environment, url, ensemble, text, chat_text, second_chat_text):
    told = answers("ask_openai.py", url, MODEL, PROMPT, CONTENT, of=environment)
    count = ensemble.generate(PROMPT, max_tokens=TOKENS).num_output_tokens
    chat = ensemble.generate(messages=MESSAGES, max_tokens=TOKENS)
    stopped = ensemble.generate(messages=MESSAGES, max_tokens=TOKENS, stop_words=["image"])
    assert stopped.finish_reasons == ("stop",)
    two = ensemble.generate(PROMPT, max_tokens=TOKENS, temperature=1, seed=5, num_return_sequences=2).texts
    assert told == {
        "text": [text] * 2,
        "chat": [chat_text] * 2,
        "usage": chat.num_output_tokens,
        "helped": {
            "deltas": stopped.text,
            "whole": stopped.text,
            "reason": "stop",
            "tokens": stopped.num_output_tokens,
        },
        "bodies": {
            "lines": text,
            "last line": "[DONE]",
            "content": chat_text,
            "request id": ["mine", "mine"],
        },
        "history": [second_chat_text] * 2,
        "forms": {
            "echo": PROMPT + text,
            "scored": text,
            "scores": count,
            "chat scored": chat_text,
            "several": [text, ensemble.generate(CONTENT, max_tokens=TOKENS).text],
            "two": [*two],
        },
        "errors": ERRORS,
        "models": [[MODEL], MODEL],
        "asynchronous": {
            "text": [text] * 3,
            "chat": [chat_text] * 2,
            "helped": stopped.text,
            "models": [MODEL],
        },
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES, "temperature": -1}),
        ("/v1/completions", {"prompt": PROMPT, "topk": 5}),
        ("/v1/completions", {"prompt": PROMPT, "model": "gpt-4"}),
        ("/v1/embeddings", {}),
        ("/v1/models", {}),
    ],
)
def test_an_error_has_openais_type(frontend, path, body):
    error = ErrorObject.model_validate(frontend.send(path, {"model": MODEL, **body}).error, strict=True)
    assert error.model_extra == {}


class Told:
    """A client that does something slowly. It says each step in a line, and goes on when it is told."""

    def __init__(self, process):
        self._process = process

    def next(self):
        """Return what it says next."""
        line = self._process.stdout.readline()
        assert line, "it has failed"
        return line.removesuffix("\n")

    def go_on(self):
        self._process.stdin.write("\n")


@contextlib.contextmanager
def client_of(environment, frontend, does):
    """A client that is ready to do something."""
    script = HERE / "ask_openai_slowly.py"
    command = [environment / "bin/python", script, f"{frontend.url}/v1", MODEL, PROMPT, does]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        try:
            client = Told(process)
            assert client.next() == "ready"
            yield client
        finally:
            process.kill()


@contextlib.contextmanager
def filled(slow):
    """A server where 4 sequences run and 4 wait."""
    long = {"prompt": PROMPT, "n": 4, "max_tokens": 500, "ignore_eos": True}
    with contextlib.ExitStack() as stack:
        for _ in "12":
            stack.callback(slow.begin("/v1/completions", long).close)
        slow.tapped.wait(lambda: (slow.tapped.state["running"], slow.tapped.state["waiting"]) == (4, 4))
        yield


@EACH_VERSION
def test_a_full_queue_is_asked_again_when_it_says(environment, slow):
    """After Retry-After's second, where the client by itself would wait for half of that."""
    with client_of(environment, slow, "full") as client:
        with filled(slow):
            client.go_on()
            assert client.next() == "429 0"
        status, seconds = client.next().split()
        assert float(seconds) >= 1
        while status == "429":
            status = client.next().split()[0]
        assert status == "200"
        assert client.next() == slow.ensemble().generate(PROMPT, max_tokens=2).text


@EACH_VERSION
def test_a_full_queue_has_its_exception(environment, slow):
    with client_of(environment, slow, "full_at_once") as client, filled(slow):
        client.go_on()
        assert client.next() == "RateLimitError rate_limit_exceeded 1"


@EACH_VERSION
@pytest.mark.parametrize("does", ["leave", "leave_helper", "cancel"])
def test_leaving_frees_the_engine(environment, slow, does):
    with client_of(environment, slow, does) as client:
        client.go_on()
        assert client.next() == "reads"
        slow.tapped.wait(lambda: slow.tapped.state["running"] == 1)
        client.go_on()
        assert client.next() == "left"
        slow.tapped.wait_freed(FREE_STEPS)


@EACH_VERSION
def test_a_clients_own_timeout_frees_the_engine(environment, slow):
    with client_of(environment, slow, "time_out") as client:
        client.go_on()
        assert client.next() == "APITimeoutError"
        slow.tapped.wait_freed(FREE_STEPS)


@pytest.fixture(scope="module")
def keyed(frontend):
    """Another frontend of the same server, which asks for a key."""
    pytest.importorskip("openai_frontend.protection", reason="no API keys yet")
    port = free_ports().http
    command = [sys.executable, "-m", "openai_frontend", "--engine-dir", str(frontend.tapped.engine_dir)]
    command += ["--grpc", f"127.0.0.1:{frontend.tapped.server.ports.grpc}", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OPENAI_API_KEYS": "right"}) as process:
        keyed = Frontend(port, frontend.tapped, process)
        try:
            wait_for(lambda: is_healthy(keyed))
            yield keyed
        finally:
            process.terminate()


def is_healthy(frontend):
    with contextlib.suppress(OSError):
        return frontend.send("/health").status == 200
    return False


@EACH_VERSION
def test_a_wrong_key_has_its_exception(environment, keyed):
    with client_of(environment, keyed, "keys") as client:
        client.go_on()
        assert client.next() == MODEL
        assert client.next() == "AuthenticationError 401 invalid_api_key"


def test_without_a_key_the_error_has_openais_type(keyed):
    ErrorObject.model_validate(keyed.send("/v1/models").error, strict=True)
