# SPDX-License-Identifier: Apache-2.0
"""python -m llm_ensemble_client, as a process: its output and exit codes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from serving.tritonserver import ROOT, free_ports
from tests.asking import generate, triton_version
from tests.client.refusing import Asked, http_server
from tests.client.terminal import Terminal
from tests.waiting import wait_for

PROMPT = "The package manager"
FIVE = ("--max-tokens", "5")


def command(*arguments, url):
    return [sys.executable, "-m", "llm_ensemble_client", arguments[0], "--url", url, *arguments[1:]]


def run(*arguments, url, stdin=""):
    return subprocess.run(
        command(*arguments, url=url), cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def url(server):
    return server.ports.http_url


@pytest.fixture(scope="module")
def expected(server):
    return generate(server, PROMPT, max_tokens=5)["text_output"]


@pytest.mark.parametrize("how", [(), ("--stream",)])
def test_generate_writes_the_text_and_nothing_else(url, expected, how, tmp_path):
    (tmp_path / "prompt").write_text(PROMPT)
    for done in (
        run("generate", PROMPT, *FIVE, *how, url=url),
        run("generate", *FIVE, *how, url=url, stdin=PROMPT),
        run("generate", "--file", str(tmp_path / "prompt"), *FIVE, *how, url=url),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")


def test_generate_over_grpc(server, expected):
    done = run("generate", PROMPT, *FIVE, "--stream", url=f"grpc://127.0.0.1:{server.ports.grpc}")
    assert (done.returncode, done.stdout) == (0, expected + "\n")


def test_generate_writes_json(url, expected):
    whole = json.loads(run("generate", PROMPT, *FIVE, "--json", url=url).stdout)
    assert (whole["text"], whole["finish_reason"], whole["num_output_tokens"]) == (expected, "length", 5)
    *pieces, last = run("generate", PROMPT, *FIVE, "--json", "--stream", url=url).stdout.splitlines()
    assert "".join(json.loads(piece)["text"] for piece in pieces) == expected
    assert json.loads(last) == whole


@pytest.mark.parametrize(
    ("environ", "has_colours"), [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)]
)
def test_a_terminal_shows_the_finish_reason_and_the_tokens(url, expected, environ, has_colours):
    asked = command("generate", PROMPT, *FIVE, "--stream", url=url)
    environ = {**{name: value for name, value in os.environ.items() if name != "NO_COLOR"}, **environ}
    with Terminal() as terminal:
        end = terminal.end
        done = subprocess.run(asked, cwd=ROOT, stdout=end, stderr=end, stdin=end, env=environ, timeout=60)
        shown = terminal.shown()
    assert done.returncode == 0
    assert expected in shown
    assert "[length; 4 tokens in, 5 out]" in shown
    assert ("\x1b[" in shown) is has_colours


def test_exit_codes(url):
    assert run("generate", "--no-such-option", url=url).returncode == 2
    assert run("generate", "x", url="ftp://nobody").returncode == 2
    refused = run("generate", "x", "--max-tokens", "0", url=url)
    assert (refused.returncode, refused.stderr) == (
        3,
        "generate: max_tokens: got 0, must be at least 1, or -1 for as many as fit\n",
    )
    nobody = run("generate", "x", "--no-retries", url=f"http://127.0.0.1:{free_ports().http}")
    assert nobody.returncode == 6
    with http_server(Asked(1, "words")) as full:
        assert run("generate", "x", "--no-retries", url=full).returncode == 4


def test_another_kind_of_server_is_a_server_error(server):
    assert run("generate", "x", url=f"http://127.0.0.1:{server.ports.metrics}").returncode == 5


def test_status(server, url):
    metrics = f"http://127.0.0.1:{server.ports.metrics}/metrics"
    # Requests of the tests before may count for a second more.
    wait_for(lambda: ": 0 running" in run("status", "--metrics-url", metrics, url=url).stdout)
    done = run("status", "--metrics-url", metrics, url=url)
    assert done.returncode == 0
    limits = "at most 32 run and 256 wait, 512 tokens a sequence"
    assert done.stdout.startswith(
        f"triton {triton_version(server)}: ready\n"
        f"demo, fp16, on openvino: 0 running, 0 waiting; {limits}\n\nmodel "
    )
    said = json.loads(run("status", "--metrics-url", metrics, "--json", url=url).stdout)
    assert said["ready"] is True
    assert said["waiting"]["ensemble"] == 0
    assert said["engine"] == {
        **{"engine": "openvino", "model": "demo", "precision": "fp16", "instances": 1},
        **{"running": 0, "waiting": 0, "max_batch_size": 32, "max_waiting": 256, "max_seq_len": 512},
    }
    blind = run("status", "--metrics-url", url, url=url)
    assert (blind.returncode, blind.stdout.splitlines()[0]) == (0, f"triton {triton_version(server)}: ready")


def test_chat_with_a_model_that_has_no_template(url):
    done = run("chat", url=url, stdin="Hello\n")
    assert done.returncode == 3
    assert done.stderr.startswith("chat: messages: this model has no chat template")


def test_chat_keeps_the_history_and_ends_with_its_input():
    asked = Asked(0, "words")
    with http_server(asked) as url:
        done = run("chat", url=url, stdin="One\nTwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "yes\nyes\n", "")
    roles = [[message["role"] for message in json.loads(body["messages"])] for body in asked.bodies]
    assert roles == [["user"], ["user", "assistant", "user"]]


@pytest.fixture
def terminal():
    """As in a terminal. What a shell runs in the background ignores Ctrl-C, and so does what that starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("terminal")
def test_ctrl_c_stops_the_answer_and_not_the_chat():
    asked = Asked(1, "a long answer")
    with http_server(asked) as url:
        chat = subprocess.Popen(
            command("chat", url=url), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with chat:
            chat.stdin.write("One\n")
            chat.stdin.flush()
            assert chat.stdout.read(3) == "yes"
            chat.send_signal(signal.SIGINT)
            rest, _ = chat.communicate("Two\n", timeout=60)
    assert (chat.returncode, rest) == (0, "\nyes\n")
    assert [message["content"] for message in json.loads(asked.bodies[1]["messages"])] == [
        "One",
        "yes",
        "Two",
    ]
