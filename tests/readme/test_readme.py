# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/, executed: commands run as they stand, the response shown has the real one's shape.

Two things differ from what a reader types: free ports instead of 8000 to 8002 and 9000, which may be in use,
and the demo checkpoint instead of a model of the hub. Docker is not run: `make image-test` does what its
commands do. docs/client.md has a test of its own (tests/client/test_recorded_session.py).
"""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from serving.tritonserver import ROOT, Server, free_ports
from tests.conftest import INT8_NEEDS_THE_CPU

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(path.read_text() for path in DOCUMENTS if path.name != "client.md")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def the_one(start):
    (command,) = {command for command in COMMANDS if command.startswith(start)}
    return command


def run(command, **more):
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo_output():
    if os.environ.get("ONEDNN_MAX_CPU_ISA"):
        pytest.skip(INT8_NEEDS_THE_CPU)
    return run(the_one("make demo"))


@pytest.fixture(scope="module")
def ports():
    return free_ports(openai=True)


def elsewhere(text, ports):
    usual_ports = ((8000, ports.http), (8001, ports.grpc), (8002, ports.metrics), (9000, ports.openai))
    for usual, here in usual_ports:
        text = text.replace(str(usual), str(here))
    return text


def printed_by(words, ports):
    """Run the Python example that has these words, and return what it prints."""
    (example,) = [block for block in blocks("python") if words in block]
    done = subprocess.run(
        [sys.executable, "-c", elsewhere(example, ports)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def served(demo_output, ports, tmp_path_factory):
    """`make serve`, run as the README says, ended as its reader would: Ctrl-C to the whole group."""
    command = the_one("make serve ENGINE_DIR=engines/demo")
    where = f" HTTP_PORT={ports.http} GRPC_PORT={ports.grpc} METRICS_PORT={ports.metrics}"
    where += f" OPENAI_PORT={ports.openai}"
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command + where, shell=True, cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
    try:
        Server(process, ports).wait_ready()
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert "serve: stopped" in log.read_text()


def test_every_command_is_known_to_this_test():
    known = (
        "make demo",
        "make test",
        "make serve ENGINE_DIR=engines/",
        "make build MODEL=",
        "curl ",
        ".venv/bin/python -m llm_ensemble_client ",
        "docker ",
    )
    assert [command for command in COMMANDS if not command.startswith(known)] == []


def test_make_demo_shows_text_over_http_and_grpc_and_stops(demo_output):
    for how in ("HTTP /generate\n", "HTTP /generate_stream", "gRPC"):
        assert how in demo_output
    assert (
        len(re.findall(r"^\[(?:stop|length) after \d+ tokens, prompt \d+\]$", demo_output, re.MULTILINE)) == 3
    )
    assert "stopping ... stopped\n" in demo_output


def test_the_curl_of_the_first_screen_gives_what_is_shown(served, ports):
    (shown,) = map(json.loads, blocks("json"))
    came = json.loads(run(elsewhere(the_one("curl -s localhost:8000/v2/models/ensemble/generate "), ports)))
    assert came.keys() == shown.keys()
    # What an INT8 engine says, and so how it ends, depends on the CPU.
    same = ("num_input_tokens", "model_name", "model_version")
    assert {name: came[name] for name in same} == {name: shown[name] for name in same}
    for answer in (came, shown):
        assert answer["text_output"]
        assert answer["finish_reason"] in {"stop", "length"}


def test_the_plain_infer_gives_the_outputs(served, ports):
    came = json.loads(run(elsewhere(the_one("curl -s localhost:8000/v2/models/ensemble_unary/infer"), ports)))
    outputs = {output["name"]: output["data"] for output in came["outputs"]}
    assert outputs["finish_reason"][0] in {"stop", "length"}
    assert outputs["text_output"][0]


def test_the_streaming_curl_ends_with_a_finish_reason(served, ports):
    events = run(elsewhere(the_one("curl -sN"), ports)).strip().split("\n\n")
    assert json.loads(events[-1].removeprefix("data: "))["finish_reason"] in {"stop", "length"}


def test_the_grpc_example_prints_text(served, ports):
    assert printed_by("tritonclient", ports)


def test_the_curl_of_openai_s_api_gives_a_completion(served, ports):
    (choice,) = json.loads(run(elsewhere(the_one("curl -s localhost:9000"), ports)))["choices"]
    assert choice["text"]
    assert choice["finish_reason"] in {"stop", "length"}


def test_openai_s_own_client_prints_text(served, ports):
    assert printed_by("from openai import", ports)


def test_the_client_s_example_prints_text(served, ports):
    assert printed_by("from llm_ensemble_client import", ports)


def test_the_client_s_command_line_prints_text(served, ports):
    (command,) = re.findall(r"`(\.venv/bin/python -m llm_ensemble_client generate [^`]+)`", README)
    assert run(f"LLM_ENSEMBLE_URL=http://127.0.0.1:{ports.http} {command}").strip()


def test_the_build_of_one_s_own_model_makes_what_serve_takes(tmp_path):
    command = the_one("make build MODEL=facebook/opt-125m").replace("facebook/opt-125m", "models/demo", 1)
    run(command.replace("engines/opt-125m", str(tmp_path / "mine")))
    assert (tmp_path / "mine/manifest.json").exists()


def test_make_help_lists_every_target():
    targets = re.findall(r"^make ([\w-]+)", run("make help"), re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(targets) == sorted(phony)


def test_the_tree_in_the_readme_is_the_tree():
    (tree,) = (block for block in blocks("text") if block.startswith("model_repository/"))
    folder = ""
    for line in tree.splitlines():
        for name in line[: 23 if line[:23].strip() else 0].replace(",", " ").split():
            folder = name if line[0] != " " else folder
            path = name if line[0] != " " else f"{folder}{name}"
            assert (ROOT / path).is_dir(), path


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(path):
    """Paths between backticks that begin with a folder of the repository."""
    folders = "|".join(
        sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir() and entry.name[0] != ".")
    )
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", path.read_text()):
        if not name.startswith(("engines/", "build/")):  # made by commands
            assert (ROOT / name).exists(), name
