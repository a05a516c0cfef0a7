# SPDX-License-Identifier: Apache-2.0
"""Code that a checkpoint brings runs when it is trusted and not before; each file of it leaves a mark."""

import json
import os
import shutil
import subprocess

import pytest

from build_scripts.command_line import parse
from build_scripts.options import BuildOptions
from tests.build_environment import ROOT, run_in_build_environment

TOKENIZER = """
from transformers import LlamaTokenizer
class OwnTokenizer(LlamaTokenizer):
    pass
"""
CONFIG = """
from transformers import LlamaConfig
class OwnConfig(LlamaConfig):
    pass
"""
MODEL = """
from transformers import LlamaForCausalLM
from .own_config import OwnConfig
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
# What a build does, less the look that it takes at a checkpoint beforehand.
UNASKED = """
import sys
from pathlib import Path
from build_scripts import options as order
from build_scripts import build, checkpoint, progress
checkpoint.refuse_remote_code = lambda source: None
build.build(order.BuildOptions(sys.argv[1], Path(sys.argv[2])), progress.Progress(total=5))
"""


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


class Own:
    """A Llama checkpoint to which code may be added, and the marks that running it leaves."""

    def __init__(self, folder, home):
        self.folder = folder
        self.marks = home / "marks"
        self.environment = {"HF_MODULES_CACHE": str(home / "modules")}

    def bring(self, name, source):
        (self.folder / name).write_text(f"open({str(self.marks)!r}, 'a').write({name + ' '!r}){source}")

    def bring_tokenizer(self, *, pair_alone=False):
        self.bring("own_tokenizer.py", TOKENIZER)
        pair = ["own_tokenizer.OwnTokenizer", None]
        mapped = pair if pair_alone else {"AutoTokenizer": pair}
        change(self.folder / "tokenizer_config.json", auto_map=mapped, tokenizer_class="OwnTokenizer")

    def bring_model(self):
        self.bring("own_config.py", CONFIG)
        self.bring("own_model.py", MODEL)
        mapped = {"AutoConfig": "own_config.OwnConfig", "AutoModelForCausalLM": "own_model.OwnModel"}
        change(self.folder / "config.json", auto_map=mapped)

    def have_run(self):
        return set(self.marks.read_text().split()) if self.marks.exists() else set()


@pytest.fixture
def own(checkpoints, tmp_path):
    return Own(shutil.copytree(checkpoints / "llama", tmp_path / "llama"), tmp_path)


def assert_refused(result, *classes):
    assert result.returncode == 1, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("build: llama needs its own code")
    for word in ("--trust-remote-code", "TRUST_REMOTE_CODE=1", "your rights on this machine", *classes):
        assert word in line


def test_nothing_is_trusted_unless_it_is_said():
    assert not BuildOptions("m", ROOT).trust_remote_code
    assert not parse(["--model", "m", "--output", "e"]).trust_remote_code
    assert parse(["--model", "m", "--output", "e", "--trust-remote-code"]).trust_remote_code


@pytest.mark.parametrize(
    ("setting", "trusted"), [([], False), (["=1"], True), (["=0"], False), (["="], False)]
)
def test_make_passes_the_flag_on_for_1_alone(setting, trusted):
    command = ["make", "-n", "build", *(f"TRUST_REMOTE_CODE{value}" for value in setting)]
    without = {name: value for name, value in os.environ.items() if name != "TRUST_REMOTE_CODE"}
    shown = subprocess.run(command, cwd=ROOT, env=without, capture_output=True, text=True, check=True).stdout
    assert ("--trust-remote-code" in shown) is trusted


@pytest.mark.parametrize("pair_alone", [False, True])
def test_a_tokenizer_s_code_is_refused_and_has_not_run(build, own, tmp_path, pair_alone):
    own.bring_tokenizer(pair_alone=pair_alone)
    result = build(model=own.folder, output=tmp_path / "engine", env=own.environment)
    assert_refused(result, "AutoTokenizer")
    assert own.have_run() == set()
    assert {path.name for path in tmp_path.iterdir()} == {"llama"}


def test_a_model_s_code_is_refused_and_has_not_run(build, own, tmp_path):
    own.bring_model()
    result = build(model=own.folder, output=tmp_path / "engine", env=own.environment)
    assert_refused(result, "AutoConfig", "AutoModelForCausalLM")
    assert own.have_run() == set()


def test_code_that_is_not_refused_beforehand_does_not_run_either(own, tmp_path):
    """Each call that could run some is told not to: transformers takes its own class, or none."""

    def run():
        return run_in_build_environment("-c", UNASKED, own.folder, tmp_path / "engine", env=own.environment)

    own.bring_model()
    result = run()
    assert result.returncode == 0, result.stderr
    own.bring_tokenizer()
    assert "contains custom code" in run().stderr
    assert own.have_run() == set()


def test_trusted_code_runs_in_the_build_and_none_of_it_is_left_in_the_engine(build, own, tmp_path):
    own.bring_tokenizer()
    own.bring_model()
    engine = tmp_path / "engine"
    result = build(model=own.folder, output=engine, trust_remote_code=True, env=own.environment)
    assert result.returncode == 0, result.stderr
    assert own.have_run() == {"own_tokenizer.py", "own_config.py", "own_model.py"}
    assert not list(engine.rglob("*.py"))
    assert not [path for path in engine.rglob("*.json") if "auto_map" in path.read_text()]


def test_a_configuration_that_only_code_can_read_cannot_be_served_by_vllm(build, own, tmp_path):
    own.bring_model()
    order = {"engine": "vllm", "model": own.folder, "output": tmp_path / "engine", "trust_remote_code": True}
    change(own.folder / "config.json", model_type="of_one_s_own")
    result = build(**order, env=own.environment)
    assert result.returncode == 1
    assert result.stderr == (
        "build: llama has model type of_one_s_own, whose configuration only its own code can read, and "
        "serving runs none: it cannot be served\n"
    )
    assert own.have_run() == set()
    change(own.folder / "config.json", model_type="llama")
    assert build(**order, env=own.environment).returncode == 0


def test_code_for_what_a_build_does_not_load_is_no_reason_to_refuse(build, own, tmp_path):
    change(own.folder / "config.json", auto_map={"AutoModelForSequenceClassification": "own.Classifier"})
    result = build(model=own.folder, output=tmp_path / "engine", max_seq_len=9999)
    assert "9999" in result.stderr, "the step after was reached"
