# SPDX-License-Identifier: Apache-2.0
"""`serve` as an operator sees it: a process, its exit status, one line when something is wrong."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from llm_ensemble_client import Client
from serving.installation import find_installation
from serving.tritonserver import ROOT, free_ports
from tests.asking import generate
from tests.processes import descendants
from tests.server.serving import is_healthy, refused, serve_command, served
from tests.waiting import wait_for


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_what_runs_and_exits_0(demo_engine, tmp_path, number):
    asked = {"max_tokens": 400, "ignore_eos": True}
    with served(demo_engine, tmp_path / "log") as server:
        whole = generate(server, "The server", **asked)["text_output"]
        with Client(server.ports.http_url, retries=False) as client:
            stream = client.stream("The server", **asked)
            text = next(stream)
            server.process.send_signal(number)
            assert text + "".join(stream) == whole
        assert server.process.wait(60) == 0
    assert "serve: stopped" in (tmp_path / "log").read_text()


def test_nothing_is_left_behind_when_serve_is_killed(demo_engine, tmp_path):
    with served(demo_engine, tmp_path / "log") as server:
        started = [process.pid for process in descendants(server.process.pid)]
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not [pid for pid in started if os.path.exists(f"/proc/{pid}")])


def test_no_process_imports_torch(demo_engine, tmp_path):
    """A torch that records its import comes first on every path."""
    imported = tmp_path / "imported"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(f"open({str(imported)!r}, 'w').close()")
    ports = free_ports(openai=True)
    with served(demo_engine, tmp_path / "log", ports, PYTHONPATH=str(tmp_path)) as server:
        generate(server, "The server", max_tokens=4)
        wait_for(lambda: is_healthy(ports))
        processes = descendants(server.process.pid)
        assert len(processes) == 7  # serve, tritonserver, four stages, the OpenAI frontend
        assert not [file for process in processes for file in process.mapped if "torch" in file.lower()]
    assert not imported.exists()


def test_metrics_are_served_on_the_port_that_was_given(server):
    wait_for(lambda: metrics(server.ports))  # Triton opens this port after that of HTTP
    assert b"nv_inference_request_success" in metrics(server.ports)


def metrics(ports):
    """What the port serves; nothing while it is closed."""
    try:
        with urllib.request.urlopen(f"http://{ports.host}:{ports.metrics}/metrics", timeout=60) as answer:
            return answer.read()
    except urllib.error.URLError:
        return b""


def test_a_taken_port_is_one_line_that_names_it(demo_engine):
    ports = free_ports()
    with socket.socket() as taken:
        taken.bind((ports.host, ports.grpc))
        taken.listen()
        line = refused(demo_engine, ports)
    assert line == f"serve: port {ports.grpc} is taken: choose another with GRPC_PORT=..."


def test_a_missing_engine_directory_is_one_line_that_says_how_to_get_one(tmp_path):
    line = refused(tmp_path / "none")
    assert line.startswith(f"serve: {tmp_path}/none is not an engine directory: manifest.json cannot be read")
    assert "make build MODEL=... OUTPUT=" in line


@pytest.fixture
def copy(demo_engine, tmp_path):
    """An engine directory to break."""
    return shutil.copytree(demo_engine, tmp_path / "engine")


def edit(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda d: edit(d, schema=99), "has schema 99, this version reads 1"),
        (
            lambda d: edit(d, precision=8),
            "manifest.json is damaged (Expected `str`, got `int` - at `$.precision`)",
        ),
        (
            lambda d: edit(d, engine="abacus"),
            "is for engine 'abacus'; this version serves openvino and tensorrt_llm",
        ),
        (lambda d: (d / "engine/openvino_model.bin").unlink(), "has no engine/openvino_model.bin"),
        (lambda d: (d / "tokenizer/tokenizer.json").unlink(), "has no tokenizer/tokenizer.json"),
        (
            lambda d: (d / "tokenizer/tokenizer.json").open("a").write(" "),
            "is not the tokenizer the engine was",
        ),
    ],
)
def test_a_broken_engine_directory_is_one_line_that_says_what(copy, damage, message):
    damage(copy)
    line = refused(copy)
    assert line.startswith("serve: ")
    assert message in line


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MAX_WAITING", "many", "a whole number of sequences, at least 0, not 'many'"),
        ("MAX_WAITING", "-1", "a whole number of sequences, at least 0, not '-1'"),
        ("ADMIN_KEY", "secret", "16 or more letters, digits, dots, dashes or underscores"),
        ("DEADLINE_MS", "0", "a whole number of milliseconds, at least 1, not '0'"),
    ],
)
def test_a_malformed_setting_is_one_line_that_names_it(demo_engine, name, value, message):
    assert refused(demo_engine, **{name: value}) == f"serve: {name} must be {message}"


def test_a_gpu_setting_for_an_engine_without_a_gpu_is_one_line_that_names_it(demo_engine):
    line = refused(demo_engine, GPU_GROUPS="0,1")
    assert line == "serve: GPU_GROUPS is for the tensorrt_llm engine alone: unset it"


def test_an_engine_that_cannot_be_loaded_ends_serve_and_the_log_says_why(copy, tmp_path):
    (copy / "engine/openvino_model.bin").write_bytes(b"")
    done = subprocess.run(
        serve_command(copy, free_ports()), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "cannot be loaded" in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("serve: tritonserver ended by itself")


def test_numpy_2_is_refused_before_it_can_crash_a_stage_of_the_wheel(demo_engine, tmp_path):
    """The wheel's Python backend is that of 2.51.0; newer ones take numpy 2."""
    (tmp_path / "numpy-2.1.0.dist-info").mkdir()
    (tmp_path / "numpy-2.1.0.dist-info/METADATA").write_text("Name: numpy\nVersion: 2.1.0\n")
    if not find_installation().libraries:  # not the wheel
        with served(demo_engine, tmp_path / "log", PYTHONPATH=str(tmp_path)) as server:
            assert generate(server, "The server", max_tokens=1)
        return
    line = refused(demo_engine, PYTHONPATH=str(tmp_path))
    assert line.startswith("serve: numpy 2.1.0 makes Triton's Python backend crash on strings: pip install")
