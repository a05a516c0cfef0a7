# SPDX-License-Identifier: Apache-2.0
"""What cannot be built is refused in one line that says what to do, and nothing is left behind."""

import json
import shutil

import pytest


def assert_refused(result, *words):
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("build: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture
def opt(checkpoints, tmp_path):
    """A checkpoint of one's own to spoil."""
    return shutil.copytree(checkpoints / "opt", tmp_path / "opt")


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_name_that_is_neither_folder_nor_hub_name_is_refused(build, tmp_path):
    result = build(model=tmp_path / "nowhere", output=tmp_path / "engine")
    assert_refused(result, "nowhere", "no such folder")
    assert not any(tmp_path.iterdir())


def test_a_folder_without_config_is_no_checkpoint(build, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_refused(
        build(model=tmp_path / "empty", output=tmp_path / "engine"), "not a Hugging Face checkpoint"
    )


def test_an_architecture_that_is_not_supported_is_named_with_those_that_are(build, opt, tmp_path):
    change_config(opt, architectures=["BertForMaskedLM"])
    result = build(model=opt, output=tmp_path / "engine")
    assert_refused(result, "BertForMaskedLM", "OPT", "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma")
    assert {path.name for path in tmp_path.iterdir()} == {"opt"}


def test_a_quantized_checkpoint_is_refused(build, opt, tmp_path):
    change_config(opt, quantization_config={"quant_method": "gptq"})
    assert_refused(build(model=opt, output=tmp_path / "engine"), "quantized already")


def test_a_checkpoint_without_weights_is_refused(build, opt, tmp_path):
    (opt / "pytorch_model.bin").unlink()
    assert_refused(build(model=opt, output=tmp_path / "engine"), "no weights")


def test_a_precision_that_does_not_exist_is_refused_with_those_that_do(build, opt, tmp_path):
    result = build(model=opt, output=tmp_path / "engine", precision="int3")
    assert_refused(result, "int3", "fp16", "int8", "int4")


def test_an_option_that_does_not_exist_is_refused(build, opt, tmp_path):
    assert_refused(build(model=opt, output=tmp_path / "engine", precison="int8"), "--precison")


@pytest.mark.parametrize("length", [257, 1, 0, -5])
def test_a_sequence_length_the_model_cannot_hold_is_refused_with_what_it_can(build, opt, tmp_path, length):
    result = build(model=opt, output=tmp_path / "engine", max_seq_len=length)
    assert_refused(result, f"--max-seq-len {length}", "2 to 256")


def test_a_batch_of_nothing_is_refused(build, opt, tmp_path):
    assert_refused(build(model=opt, output=tmp_path / "engine", max_batch_size=0), "--max-batch-size 0")


def test_an_output_folder_that_is_no_engine_directory_is_left_alone(build, opt, tmp_path):
    precious = tmp_path / "documents"
    precious.mkdir()
    (precious / "manifest.json").write_text('{"name": "a web application"}')
    assert_refused(build(model=opt, output=precious), "no engine directory", "choose another OUTPUT")
    assert [path.name for path in precious.iterdir()] == ["manifest.json"]


def test_an_output_that_is_a_file_is_left_alone(build, opt, tmp_path):
    (tmp_path / "engine").write_text("mine")
    assert_refused(build(model=opt, output=tmp_path / "engine"), "is a file")
    assert (tmp_path / "engine").read_text() == "mine"


def test_an_output_under_a_file_is_refused(build, opt, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_refused(build(model=opt, output=tmp_path / "file/engine"), "cannot write", "choose another OUTPUT")
