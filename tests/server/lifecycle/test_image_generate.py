# SPDX-License-Identifier: Apache-2.0
"""The image's command `generate`, outside an image, against the real server."""

import os
import subprocess
import sys

import pytest

from serving.tritonserver import ROOT, free_ports
from tests.asking import generate


def run_generate(*arguments, stdin="", **environ):
    """Return the exit status, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.tools.image", "generate", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        input=stdin.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_it_writes_the_raw_text_of_the_server_in_the_container(server):
    text = generate(server, "To change the settings,")["text_output"]
    here = {"HOST": server.ports.host, "HTTP_PORT": str(server.ports.http)}
    assert run_generate("To change the settings,", **here) == (0, f"{text}\n", "")
    assert run_generate("To change the settings,", "--url", server.ports.http_url) == (0, f"{text}\n", "")


def test_a_dash_reads_the_prompt_as_it_is(server):
    prompt = "Überschrift\n\n The package"
    status, out, _ = run_generate(
        "-", "--url", server.ports.http_url + "/", "--max-tokens", "9", stdin=prompt
    )
    assert (status, out) == (0, generate(server, prompt, max_tokens=9)["text_output"] + "\n")


def test_a_refused_prompt_is_one_line_with_the_server_s_reason(server):
    status, _, err = run_generate("", "--url", server.ports.http_url)
    (line,) = err.splitlines()
    assert status == 3
    assert line.startswith("generate: ")
    assert "text_input" in line


@pytest.mark.parametrize(
    "url", [free_ports().http_url, "http://nonsense.invalid:1"], ids=["no server", "no host"]
)
def test_where_no_server_is_the_error_says_where(url):
    status, _, err = run_generate("a", "--url", url)
    assert status == 6
    assert err.startswith(f"generate: {url}: ")


def test_another_server_is_an_error_with_its_reason(server):
    status, _, err = run_generate("a", "--url", f"http://{server.ports.host}:{server.ports.metrics}")
    assert status == 5
    assert err.startswith("generate: ")
    assert "Method Not Allowed" in err
