# SPDX-License-Identifier: Apache-2.0
"""The files of a checkpoint that reach engine/ of a build for vLLM, and how."""

import errno
import json
import os

import pytest

from build_scripts.checkpoint import Checkpoint
from build_scripts.errors import BuildError
from build_scripts.fetch import Source
from build_scripts.vllm.weights import place_checkpoint

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
BINS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


@pytest.fixture
def placed(tmp_path):
    """placed(*names): the names in engine/, for a checkpoint of such files."""

    def run(*names):
        folder = tmp_path / "m"
        folder.mkdir()
        (folder / "config.json").write_text('{"auto_map": {"AutoConfig": "own.Config"}}')
        for name in names:
            (folder / name).write_text(json.dumps(index(name)) if name.endswith("index.json") else name)
        checkpoint = Checkpoint(Source(folder, "m", None), "OPTForCausalLM", {}, 2048, False)
        place_checkpoint(checkpoint, tmp_path / "engine")
        return {path.name for path in (tmp_path / "engine").iterdir()}

    return run


def index(name):
    files = SHARDS if "safetensors" in name else BINS
    return {"weight_map": {f"layer{number}": file for number, file in enumerate(files)}}


def test_shards_come_with_their_index_and_without_a_second_copy(placed):
    kept = {*SHARDS, "model.safetensors.index.json"}
    others = ("model.safetensors", "consolidated.safetensors", "adapter_model.safetensors", *BINS)
    assert placed(*kept, *others) == {"config.json", *kept}


def test_one_file_needs_no_index_and_may_have_any_name(placed):
    name = "gptq_model-4bit-128g.safetensors"
    others = ("consolidated.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")
    assert placed(name, *others, "model.onnx", "tokenizer.json", "own.py") == {"config.json", name}


def test_torch_s_own_files_are_taken_where_there_are_no_safetensors(placed):
    kept = {*BINS, "pytorch_model.bin.index.json"}
    assert placed(*kept, "training_args.bin", "adapter_model.safetensors") == {"config.json", *kept}


def test_what_vllm_reads_beside_the_weights_comes_along_and_no_code_is_named(placed, tmp_path):
    small = {"generation_config.json", "hf_quant_config.json"}
    assert placed("model.safetensors", *small) == {"config.json", "model.safetensors", *small}
    assert json.loads((tmp_path / "engine/config.json").read_bytes()) == {}


def test_weights_are_links_on_one_disk_and_never_point_out_of_the_folder(placed, tmp_path):
    placed("model.safetensors")
    file = tmp_path / "engine/model.safetensors"
    assert file.samefile(tmp_path / "m/model.safetensors")
    assert not file.is_symlink()


def test_a_link_of_the_hub_s_cache_is_followed(tmp_path):
    (tmp_path / "blob").write_text("weights")
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.safetensors").symlink_to("../blob")
    checkpoint = Checkpoint(Source(tmp_path / "m", "m", None), "OPTForCausalLM", {}, 2048, False)
    assert place_checkpoint(checkpoint, tmp_path / "engine") == len("weights")
    assert (tmp_path / "engine/model.safetensors").samefile(tmp_path / "blob")
    assert not (tmp_path / "engine/model.safetensors").is_symlink()


def test_on_another_disk_weights_are_copied(placed, tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    placed("model.safetensors")
    file = tmp_path / "engine/model.safetensors"
    assert file.read_text() == "model.safetensors"
    assert not file.samefile(tmp_path / "m/model.safetensors")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), r"^m has no weights: neither \*\.safetensors nor pytorch_model\*\.bin$"),
        (("consolidated.safetensors", "training_args.bin"), "^m has no weights"),
        (
            (SHARDS[0], "model.safetensors.index.json"),
            f"^m has no {SHARDS[1]}, which model.safetensors.index",
        ),
    ],
)
def test_weights_that_are_missing_are_named(placed, names, told):
    with pytest.raises(BuildError, match=told):
        placed(*names)
