# SPDX-License-Identifier: Apache-2.0
"""The image's entrypoint, outside an image; `make image-test` runs it inside one."""

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

from serving.tools import image
from serving.tritonserver import ROOT
from tests.waiting import wait_for

PORTS = ["--http-port=8000", "--grpc-port=8001", "--metrics-port=8002", "--openai-port=9000"]


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "MOUNTED", tmp_path / "engine")
    monkeypatch.setattr(image, "DEMO", tmp_path / "demo")
    return tmp_path


def test_no_command_is_serve_on_every_address_and_the_default_ports(folders):
    serve = ["-m", "serving.serve", f"--engine-dir={folders}/engine", "--host=0.0.0.0", *PORTS]
    assert image.command([], {}) == image.command(["serve"], {}) == serve


def test_check_gets_the_options_of_serve():
    assert image.command(["check"], {})[1:] == ["serving.preflight", *image.command(["serve"], {})[2:]]


def test_the_demo_engine_is_served_until_another_is_mounted(folders):
    (folders / "demo").mkdir()
    assert f"--engine-dir={folders}/demo" in image.command(["serve"], {})
    (folders / "engine").mkdir()  # docker makes it, also for a folder with nothing in it, which is a mistake
    assert f"--engine-dir={folders}/engine" in image.command(["serve"], {})


def test_settings_have_the_names_that_make_has():
    environ = {"ENGINE_DIR": "/e", "HOST": "::", "HTTP_PORT": "1", "GRPC_PORT": "2"}
    environ |= {"METRICS_PORT": "3", "OPENAI_PORT": "0"}
    options = ["--engine-dir=/e", "--host=::", "--http-port=1", "--grpc-port=2", "--metrics-port=3"]
    options += ["--openai-port=0"]
    assert image.command(["serve"], environ)[2:] == options


def test_build_and_generate_get_their_arguments_as_they_are():
    assert image.command(["build", "--model", "a b"], {}) == ["-m", "build_scripts.build", "--model", "a b"]
    assert image.command(["generate", "a b"], {}) == ["-m", "llm_ensemble_client", "generate", "a b"]


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"HOST": "::", "HTTP_PORT": "1"}, "http://[::1]:1"),
        ({"LLM_ENSEMBLE_URL": "elsewhere:8000"}, "elsewhere:8000"),
    ],
)
def test_generate_asks_the_server_in_this_container_unless_told_otherwise(monkeypatch, environ, url):
    monkeypatch.setattr(os, "environ", dict(environ))
    monkeypatch.setattr(image, "run", lambda python: os.environ["LLM_ENSEMBLE_URL"])
    assert image.main(["generate", "a"]) == url


def test_generate_needs_no_package_that_the_image_does_not_have(tmp_path):
    command = [sys.executable, "-m", "llm_ensemble_client", "generate", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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
    """Start image.run with Python code as its command, in a process."""
    run = f"import sys; from serving.tools.image import run; sys.exit(run(['-c', {code!r}]))"
    return subprocess.Popen([sys.executable, "-c", run], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_exit_status_is_the_command_s(code, status):
    with init(code) as process:
        assert process.wait(60) == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command(number):
    code = (
        f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(5)); "
        "print('up', flush=True); signal.pause()"
    )
    with init(code) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.wait(60) == 5


def test_orphans_are_collected_while_the_command_runs():
    code = (
        "import os, time\n"
        "if not os.fork():\n"
        "    orphan = os.fork()\n"
        "    if orphan: print(orphan, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "time.sleep(300)\n"
    )
    with init(code) as process:
        orphan = int(process.stdout.readline())
        try:
            wait_for(lambda: not os.path.exists(f"/proc/{orphan}"))
            assert process.poll() is None
        finally:
            process.terminate()
