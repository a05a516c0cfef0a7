# SPDX-License-Identifier: Apache-2.0
"""The command generate against the real server."""

import io

from build_scripts import generate as command
from build_scripts.tritonserver import free_ports
from tests.asking import generate


def test_it_writes_the_raw_text(server, capsys):
    text = generate(server, "To change the settings,")["text_output"]
    assert command.main(["To change the settings,", "--url", server.ports.http_url]) == 0
    assert capsys.readouterr() == (f"{text}\n", "")


def test_a_dash_reads_the_prompt_as_it_is(server, capsys, monkeypatch):
    prompt = "Überschrift\n\n The package"
    monkeypatch.setattr("sys.stdin", io.StringIO(prompt))
    assert command.main(["-", "--url", server.ports.http_url + "/", "--max-tokens", "9"]) == 0
    assert capsys.readouterr().out == generate(server, prompt, max_tokens=9)["text_output"] + "\n"


def test_a_refused_prompt_is_one_line_with_the_server_s_reason(server, capsys):
    assert command.main(["", "--url", server.ports.http_url]) == 1
    err = capsys.readouterr().err
    assert err.startswith("generate: ")
    assert "text_input" in err


def test_no_server_is_one_line_that_says_where(capsys):
    url = free_ports().http_url
    assert command.main(["a", "--url", url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"generate: {url} does not answer")


def test_an_address_that_is_none_is_one_line(capsys):
    assert command.main(["a", "--url", "nonsense"]) == 1
    assert capsys.readouterr().err.startswith("generate: nonsense does not answer")


def test_another_server_is_one_line(server, capsys):
    metrics = f"http://{server.ports.host}:{server.ports.metrics}"
    assert command.main(["a", "--url", metrics]) == 1
    assert capsys.readouterr().err == "generate: Method Not Allowed\n"
