# SPDX-License-Identifier: Apache-2.0
"""Run a client of others in its environment."""

import json
import subprocess

from serving.tritonserver import ROOT

HERE = ROOT / "tests/clients"
CLIENTS = ROOT / ".venv-clients"
OPENAI_CLIENTS = ROOT / ".venv-clients-openai"  # with version 3 of OpenAI's client; the other has 2
PROMPT = "The server"
SECONDS = 300  # some import for half a minute on a busy machine


def run(script, *arguments, of=CLIENTS, seconds=SECONDS, **options):
    """Run a script of an environment, return what it prints."""
    return output([of / "bin/python", script, *map(str, arguments)], seconds=seconds, **options)


def output(command, seconds=SECONDS, **options):
    """Run a command that must succeed, return what it prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, encoding="utf-8", **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(script, *arguments, **options):
    """Return the last line that a script prints, parsed: libraries print before it."""
    return json.loads(run(HERE / script, *arguments, **options).splitlines()[-1])
