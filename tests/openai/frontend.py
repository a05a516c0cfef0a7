# SPDX-License-Identifier: Apache-2.0
"""The frontend as a process, in front of a tapped server, and ways to ask both."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import openai

from llm_ensemble_client import Client
from serving.tritonserver import ROOT, free_ports
from tests.server.conftest import tapped_server
from tests.waiting import wait_for

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
PROMPT = "To change the settings,"
UNICODE_PROMPT = "Größe 猫 🐈"
MESSAGES = [{"role": "user", "content": "How do I change the settings?"}]
MODEL = "demo"


@dataclass
class Answer:
    """What came of a request sent without any client's help."""

    status: int
    headers: dict
    body: bytes

    @property
    def content(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.content["error"]

    @property
    def events(self):
        """The events of a stream as JSON, [DONE] as None."""
        lines = [line for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [None if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


@dataclass
class Frontend:
    """A running frontend and the server that it asks."""

    port: int
    tapped: object
    process: object
    log: object
    clients: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def openai(self, **options):
        """OpenAI's client, which repeats nothing."""
        options = {"max_retries": 0, **options}
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", **options)
        return self.clients.enter_context(client)

    def ensemble(self):
        """This project's client of the server itself."""
        return self.clients.enter_context(Client(f"grpc://127.0.0.1:{self.tapped.server.ports.grpc}"))

    def send(self, path, body=None, method=None, **headers):
        """Send a request; JSON, unless the body is bytes."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **headers} if data is not None else headers
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return read_answer(answer)
        except urllib.error.HTTPError as answer:
            return read_answer(answer)

    def chat(self, **fields):
        return self.send("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, **fields})

    def complete(self, **fields):
        return self.send("/v1/completions", {"model": MODEL, "prompt": PROMPT, **fields})

    def begin(self, path, body, **headers):
        """Send a request and read nothing; return its connection, which closing leaves."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"content-type": "application/json", **headers}
        connection.request("POST", path, json.dumps({"model": MODEL, **body}), headers)
        return connection


@contextlib.contextmanager
def frontend_of(engine_dir, folder, **environ):
    """Start a tapped server and a frontend for it."""
    with (
        tapped_server(engine_dir, folder, **environ) as tapped,
        frontend_beside(tapped, engine_dir, folder) as frontend,
    ):
        yield frontend


@contextlib.contextmanager
def frontend_beside(tapped, engine_dir, folder):
    """Start a frontend for a server, which is all that must be known of it unless tests ask for its state."""
    port = free_ports(openai=True).openai
    command = [sys.executable, "-m", "openai_frontend", "--engine-dir", str(engine_dir)]
    command += ["--grpc", tapped.server.ports.grpc_netloc, "--port", str(port)]
    log = folder / "frontend.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    frontend = Frontend(port, tapped, process, log)
    try:
        wait_for(lambda: listens(frontend))
        with frontend.clients:
            yield frontend
    finally:
        process.terminate()
        status = process.wait(60)
    assert status in (0, -signal.SIGTERM)


def read_answer(answer):
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status, headers, answer.read())


def listens(frontend):
    with contextlib.suppress(OSError):
        return frontend.send("/version").status == 200
    return False
