# SPDX-License-Identifier: Apache-2.0
"""The image's entrypoint, outside an image; `make image-test` has it inside one."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest

from build_scripts import image
from build_scripts.tritonserver import ROOT

PORTS = ["--http-port=8000", "--grpc-port=8001", "--metrics-port=8002"]


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "MOUNTED", tmp_path / "engine")
    monkeypatch.setattr(image, "DEMO", tmp_path / "demo")
    return tmp_path


def test_no_command_is_serve_on_every_address_and_the_usual_ports(folders):
    usual = ["-m", "build_scripts.serve", f"--engine-dir={folders}/engine", "--host=0.0.0.0", *PORTS]
    assert image.command([], {}) == image.command(["serve"], {}) == usual


def test_check_looks_at_what_serve_would_serve():
    assert image.command(["check"], {})[1:] == [
        "build_scripts.preflight",
        *image.command(["serve"], {})[2:],
    ]


def test_the_demo_engine_is_served_until_another_is_mounted(folders):
    (folders / "demo").mkdir()
    assert f"--engine-dir={folders}/demo" in image.command(["serve"], {})
    (folders / "engine").mkdir()  # docker makes it, also for a folder with nothing in it, which is a mistake
    assert f"--engine-dir={folders}/engine" in image.command(["serve"], {})


def test_settings_are_called_as_make_calls_them():
    environ = {"ENGINE_DIR": "/e", "HOST": "::", "HTTP_PORT": "1", "GRPC_PORT": "2", "METRICS_PORT": "3"}
    options = ["--engine-dir=/e", "--host=::", "--http-port=1", "--grpc-port=2", "--metrics-port=3"]
    assert image.command(["serve"], environ)[2:] == options


def test_build_and_generate_get_their_arguments_as_they_are():
    assert image.command(["build", "--model", "a b"], {}) == ["-m", "build_scripts.build", "--model", "a b"]
    assert image.command(["generate", "a b"], {}) == ["-m", "build_scripts.generate", "a b"]


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_goes_to_standard_output(word, capsys):
    assert image.main([word]) == 0
    assert capsys.readouterr() == (image.HELP, "")


def test_an_unknown_command_is_named_before_the_help(capsys):
    assert image.main(["dance", "now"]) == 2
    assert capsys.readouterr() == ("", f"llm-ensemble: no command 'dance'\n\n{image.HELP}")


def test_an_image_without_torch_says_that_it_builds_nothing(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert image.main(["build", "--model", "m"]) == 1
    assert capsys.readouterr().err.startswith("build: this image has no torch")


def init(code):
    """image.run with Python code as its command, as a process."""
    run = f"import sys; from build_scripts.image import run; sys.exit(run(['-c', {code!r}]))"
    return subprocess.Popen([sys.executable, "-c", run], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_exit_status_is_the_command_s(code, status):
    with init(code) as process:
        assert process.wait(30) == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_which_decides(number):
    code = (
        f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(5)); "
        "print('up', flush=True); signal.pause()"
    )
    with init(code) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.wait(30) == 5


def test_orphans_are_collected_while_the_command_runs():
    code = (
        "import os, time\n"
        "if not os.fork():\n"
        "    orphan = os.fork()\n"
        "    if orphan: print(orphan, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "time.sleep(30)\n"
    )
    with init(code) as process:
        orphan = int(process.stdout.readline())
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
            time.sleep(0.02)
        running = process.poll() is None
        process.terminate()
        assert running
        assert not os.path.exists(f"/proc/{orphan}")
