# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from build_scripts.command_line import parse
from build_scripts.errors import BuildError
from tests.odd_paths import odd


def order(*words):
    return parse([*words, "--engine", "openvino"])


@pytest.mark.parametrize(
    ("model", "output"),
    [
        ("facebook/opt-125m", "engines/opt-125m"),
        ("models/demo/", "engines/demo"),
        ("my models/a b", "engines/a b"),
        ("/", "engines"),
    ],
)
def test_without_output_an_engine_is_called_as_its_model(model, output):
    assert order("--model", model).output == Path(output)


def test_a_path_of_any_name_is_taken_if_it_is_utf_8(tmp_path):
    path = str(tmp_path / odd("utf-8"))
    taken = order(f"--model={path}", f"--output={path}")
    assert (taken.model, taken.output) == (path, Path(path))


@pytest.mark.parametrize("words", [["--model=a\udcffb"], ["--model=m", "--output=a\udcffb"]])
def test_a_path_that_is_not_utf_8_is_refused_by_the_option_s_name(words):
    with pytest.raises(BuildError, match=r"^--(model|output) '.*a\\udcffb' is not UTF-8: rename the folder$"):
        order(*words)
