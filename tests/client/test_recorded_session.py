# SPDX-License-Identifier: Apache-2.0
"""The terminal sessions of docs/client.md, typed again into a real terminal and answered by a real server."""

import fcntl
import io
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pexpect.fdpexpect
import pytest

from llm_ensemble.manifest import read_manifest
from serving.tritonserver import ROOT, Ports, free_ports, running
from tests.server.conftest import with_chat_template

BLOCKS = re.findall(r"^```console\n(.*?)^```$", (ROOT / "docs/client.md").read_text(), re.M | re.S)
TYPED = re.compile(r"^(you> |\.\.\.> )(.*)$", re.M)
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}The package manager"


def ports_in_a_row():
    """HTTP, gRPC and metrics ports as Triton has them by default, one after the other."""
    for _ in range(100):
        first = free_ports().http
        try:
            for port in range(first, first + 3):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return Ports(first, first + 1, first + 2)
    raise AssertionError("no three free ports in a row")


@pytest.fixture(scope="module")
def chatting(served_engine, tmp_path_factory):
    """A server whose model has a chat template."""
    copy = tmp_path_factory.mktemp("chatting") / "engine"
    engine = with_chat_template(served_engine, copy, TEMPLATE)
    with (engine.parent / "log").open("wb") as log, running(engine, ports_in_a_row(), log) as server:
        server.wait_ready()
        yield server


class Terminal:
    """Types the commands of the document; its ports and precision stand for those of the servers here."""

    def __init__(self, ports, precision, home):
        self._ports, self._precision, self._home = ports, precision, home

    def here(self, text):
        """Return the text with the ports and the precision of these servers."""
        text = text.replace("int8", self._precision)
        return re.sub(r"(localhost:|Port )(\d{4})\b", lambda m: f"{m[1]}{self._ports[int(m[2])]}", text)

    def type(self, command, lines):
        """Return what the terminal shows of a command that prompts for these lines."""
        shown = io.StringIO()
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, 200, 0, 0))  # rows, columns
        # Not pexpect.spawn: it forks, and a child of a process that has used gRPC may die of gRPC's handlers.
        with subprocess.Popen(
            ["bash", "-c", command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self._environ,
            start_new_session=True,
        ):
            os.close(theirs)
            child = pexpect.fdpexpect.fdspawn(ours, encoding="utf-8", timeout=60)
            child.logfile_read = shown
            for prompt, line in lines:
                child.expect_exact(prompt)
                child.sendline(line)
            child.expect(pexpect.EOF)
            child.close()
        return shown.getvalue().replace("\r\n", "\n")

    @property
    def _environ(self):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        url = f"http://localhost:{self._ports[8000]}"
        home = {"HOME": str(self._home), "INPUTRC": "/dev/null", "TERM": "dumb"}
        return {"PATH": path, "LANG": "C.UTF-8", "LLM_ENSEMBLE_URL": url, **home}


@pytest.fixture(scope="module")
def terminal(chatting, server, served_engine, tmp_path_factory):
    theirs, other = chatting.ports, server.ports.http
    ports = {8000: theirs.http, 8001: theirs.grpc, 8002: theirs.metrics, 9000: other, 7000: free_ports().http}
    precision = read_manifest(served_engine).precision
    return Terminal(ports, precision, tmp_path_factory.mktemp("home"))


def commands(block):
    """Return each command of a block with its recorded output."""
    return [part.split("\n", 1) for part in re.split(r"^\$ ", block, flags=re.M)[1:]]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: commands(block)[0][0][:60])
def test_the_terminal_shows_what_was_recorded(terminal, block):
    for command, recorded in commands(block):
        shown = terminal.type(terminal.here(command), TYPED.findall(recorded))
        pattern = ".*?".join(map(re.escape, terminal.here(recorded).split("…")))
        assert re.fullmatch(pattern, shown, re.S), f"$ {command}\n{shown}"


def test_every_command_is_in_the_document():
    words = " ".join(command for block in BLOCKS for command, _ in commands(block))
    assert [name for name in ("generate", "chat", "status", "models") if f"-client {name}" not in words] == []
