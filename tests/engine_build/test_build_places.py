# SPDX-License-Identifier: Apache-2.0
"""Builds from and to folders with odd names."""

import shlex
import shutil

from serving.tritonserver import ROOT
from tests.build_environment import run_in_build_environment
from tests.odd_paths import odd


def test_a_model_an_output_and_a_temporary_folder_may_have_any_name(tmp_path):
    place = tmp_path / odd("utf-8")
    model = shutil.copytree(ROOT / "models/demo", place / "model" / odd("utf-8"))
    output = place / "engine" / odd("utf-8")
    words = (f"--model={model}", f"--output={output}", "--engine=openvino")
    environ = {"TMPDIR": str(place), "HOME": str(place)}
    done = run_in_build_environment("-m", "build_scripts.build", *words, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert (output / "manifest.json").exists()
    assert done.stdout.endswith(f" is ready: make serve ENGINE_DIR={shlex.quote(str(output))}\n")
