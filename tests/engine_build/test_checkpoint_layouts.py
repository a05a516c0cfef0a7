# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's files may lie in many ways; each gives the engine that one plain file of weights gives.

Weights in one pytorch_model.bin (opt) and in bfloat16 (llama, qwen3, gemma3) are test_build_families' own.
"""

import json

import pytest
from tokenizers import Tokenizer

from llm_ensemble.manifest import read_manifest
from tests.build_environment import HERE, run_in_build_environment
from tests.engine_build.test_build_families import greedy

# Stores a model again in small files: safetensors, and as torch's own, which transformers no longer writes.
SHARD = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM
plain, shards, bins = map(Path, sys.argv[1:])
model = AutoModelForCausalLM.from_pretrained(plain, dtype="auto")
model.save_pretrained(shards, max_shard_size="100KB")
weights = model.state_dict()
names = sorted(weights)
files = {f"pytorch_model-0000{n + 1}-of-00002.bin": names[n::2] for n in range(2)}
for file, held in files.items():
    torch.save({name: weights[name] for name in held}, bins / file)
index = {"metadata": {}, "weight_map": {name: file for file, held in files.items() for name in held}}
(bins / "pytorch_model.bin.index.json").write_text(json.dumps(index))
"""
LAYOUTS = ("shards", "bins", "links")


@pytest.fixture(scope="module")
def laid(checkpoints, tmp_path_factory):
    """A folder with each layout of the Llama checkpoint, which is in bfloat16, and one with their engines."""
    plain, root = checkpoints / "llama", tmp_path_factory.mktemp("layouts")
    for layout in LAYOUTS:
        (root / layout).mkdir()
    for file in plain.iterdir():
        for layout in ("shards", "bins"):
            if file.suffix != ".safetensors":
                (root / layout / file.name).write_bytes(file.read_bytes())
    stored = run_in_build_environment("-c", SHARD, plain, root / "shards", root / "bins")
    assert stored.returncode == 0, stored.stderr
    link_as_the_hub_s_cache_does(plain, root / "links", root / "blobs")
    built = run_in_build_environment(
        HERE / "build_many.py", root, root / "engines", *(f"{layout}:fp16" for layout in LAYOUTS)
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return root, root / "engines"


def link_as_the_hub_s_cache_does(plain, folder, blobs):
    """Relative links to files whose names say nothing."""
    blobs.mkdir()
    for number, file in enumerate(sorted(plain.iterdir())):
        (blobs / f"{number:040}").write_bytes(file.read_bytes())
        (folder / file.name).symlink_to(f"../{blobs.name}/{number:040}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_gives_the_same_engine_however_its_files_lie(checkpoints, laid, layout):
    _, engines = laid
    reference = json.loads((checkpoints / "llama.json").read_bytes())
    engine = engines / f"{layout}-fp16"
    assert not engine.with_suffix(".txt").exists(), engine.with_suffix(".txt").read_text()
    answers = reference["answers"]
    assert greedy(engine, reference["prompts"], len(answers[0])) == answers
    assert read_manifest(engine).model.architecture == "LlamaForCausalLM"
    assert not [path for path in engine.rglob("*") if path.is_symlink()]


def test_the_layouts_are_what_they_are_called(checkpoints, laid):
    root, _ = laid
    assert len(list((root / "shards").glob("model-*.safetensors"))) > 1
    assert len(list((root / "bins").glob("pytorch_model-*.bin"))) == 2
    assert not list((root / "bins").glob("*.safetensors"))
    assert all(path.is_symlink() for path in (root / "links").iterdir())
    assert json.loads((checkpoints / "llama/config.json").read_bytes())["dtype"] == "bfloat16"


def test_a_model_may_have_more_rows_than_its_tokenizer_has_tokens(checkpoints, laid):
    """Rows are often padded to a round number; what an engine makes of such a row decodes to nothing."""
    _, engines = laid
    tokenizer = Tokenizer.from_file(str(engines / "links-fp16/tokenizer/tokenizer.json"))
    rows = json.loads((checkpoints / "llama/config.json").read_bytes())["vocab_size"]
    assert tokenizer.get_vocab_size() < rows
    assert tokenizer.decode([rows - 1]) == ""
