# SPDX-License-Identifier: Apache-2.0
"""Conventions of command lines such as llm, vllm chat and ollama run."""

import json
import os
import stat
import subprocess
import sys

import pytest

from llm_ensemble_client.cli.main import COMMANDS, main
from serving.tritonserver import ROOT, free_ports
from tests.client.refusing import Asked, http_server
from tests.client.terminal import Terminal

ECHO = ("--max-tokens", "1", "--no-exclude-input-in-output")


def run(*words, stdin="", state="/nowhere"):
    return subprocess.run(
        [sys.executable, "-m", "llm_ensemble_client", *map(str, words)],
        **{"cwd": ROOT, "input": stdin, "capture_output": True, "text": True, "timeout": 60},
        env={**os.environ, "XDG_STATE_HOME": str(state)},
    )


@pytest.fixture(scope="module")
def url(server):
    return f"{server.ports.host}:{server.ports.http}"


@pytest.mark.parametrize(
    ("words", "stdin", "asked"),
    [
        (("the end",), "the beginning", "the beginning the end"),
        (("the end",), "", "the end"),
        (("-",), "from the pipe", "from the pipe"),
        (("--file", "-"), "from the pipe", "from the pipe"),
        (("-f", "FILE"), "the beginning", "the beginning from the file"),
    ],
)
def test_standard_input_comes_before_the_prompt(url, tmp_path, words, stdin, asked):
    (tmp_path / "file").write_text("from the file")
    words = [str(tmp_path / "file") if word == "FILE" else word for word in words]
    done = run("generate", "--url", url, *words, *ECHO, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(asked)


def test_a_system_message_and_a_whole_conversation_are_sent_as_messages(tmp_path):
    conversation = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]
    (tmp_path / "messages").write_text(json.dumps(conversation))
    asked = Asked(0, "words")
    with http_server(asked) as there:
        assert run("generate", "--url", there, "-s", "Be brief", "Why?").returncode == 0
        assert run("generate", "--url", there, "--messages", tmp_path / "messages").returncode == 0
        done = run("generate", "--url", there, "--messages", "-", stdin=json.dumps(conversation))
        assert done.returncode == 0, done.stderr
    sent = [sent_field(body, "messages") for body in asked.bodies]
    system = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Why?"}]
    assert [json.loads(one) for one in sent] == [system, conversation, conversation]


def sent_field(body, name):
    if "inputs" not in body:
        return body[name]
    ((value,),) = (one["data"] for one in body["inputs"] if one["name"] == name)
    return value


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("generate", "--file", "/nowhere/x"), "--file: No such file or directory: /nowhere/x"),
        (("generate", "--messages", "/nowhere/x"), "--messages: /nowhere/x: No such file"),
        (("generate", "--messages", "README.md"), "README.md is not JSON"),
        (("generate", "--messages", "monitoring/grafana/dashboards/llm-ensemble.json"), "is not a list like"),
        (("generate", "--messages", "-", "-s", "x"), "put it into the --messages"),
        (("chat", "--continue"), "no conversation to continue"),
        (("chat", "--continue", "--no-history"), "not allowed with"),
        (("generate", "x", "--max-tok", "5"), "unrecognized arguments: --max-tok"),
        (("status", "--js"), "unrecognized arguments: --js"),
        (("--vers",), "unrecognized arguments"),
        (("bench",), "invalid choice: 'bench'"),
    ],
)
def test_a_wrong_command_line_gives_an_error_that_says_why(words, problem):
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


def test_no_command_shows_the_help_and_version_the_version():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert f"    {command} " in done.stdout
    assert run("--version").stdout == run("-V").stdout == "llm-ensemble-client 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "is_terminal", "streams"),
    [
        ((), True, True),
        ((), False, False),
        (("--no-stream",), True, False),
        (("--stream",), False, True),
        (("--json",), True, False),
        (("--num-return-sequences", "2", "-t", "1"), True, False),
    ],
)
def test_text_is_streamed_to_a_terminal_by_default(words, is_terminal, streams):
    asked = Asked(0, "words")
    with http_server(asked) as there, Terminal() as terminal:
        command = [sys.executable, "-m", "llm_ensemble_client", "generate", "--url", there, "x", *words]
        stdout = terminal.end if is_terminal else subprocess.PIPE
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, timeout=60)
    assert done.returncode == 0
    (body,) = asked.bodies
    assert ("stream" in body) is streams


def test_the_usage_option_writes_to_standard_error(url):
    for usage, told in (((), ""), (("-u",), "[length; 2 tokens in, 3 out]\n")):
        done = run("generate", "--url", url, "The", "-n", 3, "--ignore-eos", *usage)
        assert (done.returncode, done.stderr) == (0, told)


def test_a_retry_after_an_overload_is_noted_on_the_terminal():
    with http_server(Asked(1, "words")) as there, Terminal() as terminal:
        command = [sys.executable, "-m", "llm_ensemble_client", "generate", "--url", there, "x"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal.end,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, b"yes\n")
        assert (
            "[Exceeds maximum queue size: 4 running, 4 waiting; try again later; asking again]"
            in terminal.shown()
        )


@pytest.mark.parametrize("command", ["generate", "chat", "status", "models"])
@pytest.mark.parametrize("scheme", ["", "grpc://"])
def test_a_server_that_is_down_is_not_retried(monkeypatch, capsys, command, scheme):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("llm_ensemble_client.cli.chat.piped", lambda: ["Hello"])
    there = f"127.0.0.1:{free_ports().http}"
    words = [command, "--url", f"{scheme}{there}", *(["x"] if command == "generate" else [])]
    assert main(words) == 6
    assert slept == []
    first, advice = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{command}: ")
    assert advice.startswith(
        f"Nothing listens at {there}: start the server (make serve), or give its address"
    )


def test_a_host_that_does_not_exist():
    done = run("generate", "--url", "nohost.invalid", "--file", "README.md")
    assert done.returncode == 6
    assert "No host is known as nohost.invalid: check --url" in done.stderr


@pytest.mark.parametrize(
    ("asked", "port", "advice"),
    [
        ("http", "grpc", "speaks gRPC: try --url grpc://127.0.0.1:{port}"),
        ("http", "metrics", "serves Triton's metrics: give its HTTP port"),
        ("grpc", "http", "speaks HTTP: try --url http://127.0.0.1:{port}"),
        ("grpc", "metrics", "serves Triton's metrics: give its HTTP port"),
        ("https", "http", "speaks HTTP: try --url http://127.0.0.1:{port}"),
        ("grpcs", "grpc", "speaks gRPC: try --url grpc://127.0.0.1:{port}"),
    ],
)
@pytest.mark.parametrize("words", [("generate", "x"), ("generate", "x", "--stream"), ("status",)])
def test_the_error_for_a_wrong_port_says_what_listens_there(server, asked, port, advice, words):
    port = getattr(server.ports, port)
    done = run(*words, "--url", f"{asked}://127.0.0.1:{port}")
    assert done.returncode in (5, 6)
    assert done.stderr.splitlines()[-1].endswith(advice.format(port=port)) or advice in done.stderr


def test_the_error_for_an_invalid_request_has_no_advice_on_the_port(url):
    done = run("generate", "--url", url, "x", "--max-tokens", "0")
    assert (done.returncode, done.stderr) == (
        3,
        "generate: max_tokens: got 0, must be at least 1, or -1 for as many as fit\n",
    )


def test_models_are_read_from_the_metrics(server, url):
    metrics = f"http://{server.ports.host}:{server.ports.metrics}/metrics"
    (model,) = json.loads(run("models", "--url", url, "--metrics-url", metrics, "--json").stdout)
    assert (model["model"], model["precision"], model["max_seq_len"]) == ("demo", "fp16", 512)
    done = run("models", "--url", url, "--metrics-url", f"http://{url}")
    assert (done.returncode, done.stdout) == (6, "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("st", ["status"]),
        ("generate --max-t", ["--max-tokens"]),
        ("chat --no-h", ["--no-history"]),
        ("generate --file README", ["README.md"]),
    ],
)
def test_a_shell_completes_commands_options_and_files(typed, offered):
    words = ["llm-ensemble-client", *typed.split()]
    script = (
        f"{run('completion', 'bash').stdout}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        "COMP_TYPE=9; "
        '_shtab_llm_ensemble_client llm-ensemble-client "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert [*map(str.strip, done.stdout.split())] == offered, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_every_shell_has_a_script(shell):
    done = run("completion", shell)
    assert done.returncode == 0
    assert "generate" in done.stdout


class TestSavedFilesOfAChat:
    """From a pipe; test_recorded_session.py has the terminal."""

    def test_a_chat_from_a_pipe_saves_nothing_without_continue(self, tmp_path):
        asked = Asked(0, "words")
        with http_server(asked) as there:
            assert run("chat", "--url", there, stdin="One\n", state=tmp_path).returncode == 0
            assert [*tmp_path.iterdir()] == []
            file = tmp_path / "llm-ensemble/conversation.json"
            file.parent.mkdir()
            file.write_text('[{"role": "system", "content": "Be long"}, {"role": "user", "content": "Zero"}]')
            words = ("chat", "--url", there, "--continue", "-s", "Be brief")
            assert run(*words, stdin="/bye\nTwo\n", state=tmp_path).returncode == 0
        said = ["Be brief", "Zero", "/bye", "yes", "Two", "yes"]
        assert [message["content"] for message in json.loads(file.read_text())] == said
        assert [one["content"] for one in json.loads(asked.bodies[-1]["messages"])] == said[:-1]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_a_chat_goes_on_if_its_folder_cannot_be_written(self, tmp_path):
        (tmp_path / "llm-ensemble").mkdir()
        (tmp_path / "llm-ensemble/conversation.json").write_text("[]")
        (tmp_path / "llm-ensemble").chmod(0o500)
        with http_server(Asked(0, "words")) as there:
            done = run("chat", "--url", there, "-c", stdin="One\n", state=tmp_path)
        assert (done.returncode, done.stdout) == (0, "yes\n")
