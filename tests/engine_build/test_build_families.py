# SPDX-License-Identifier: Apache-2.0
"""Every supported family from a checkpoint to tokens out of the engine that serves it."""

import json

import numpy as np
import openvino
import openvino_genai
import pytest
from tokenizers import Tokenizer

from llm_ensemble.engines.openvino.pipeline import EXACT
from llm_ensemble.manifest import read_manifest, tokenizer_sha256

FAMILIES = ("opt", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3")
ARCHITECTURES = {
    "opt": "OPTForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
}
FIRST_TOKEN = {
    "opt": "</s>",
    "llama": "<s>",
    "mistral": "<s>",
    "gemma": "<bos>",
    "gemma2": "<bos>",
    "gemma3": "<bos>",
}


def greedy(engine_dir, prompts, new_tokens) -> list[list[int]]:
    """All prompts as one running batch of openvino-genai, computing in float32."""
    folder = str(engine_dir / "engine")
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        folder, openvino_genai.Tokenizer(folder), scheduler, "CPU", **EXACT
    )
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = new_tokens
    config.ignore_eos = True
    handles = [
        pipeline.add_request(number, openvino.Tensor(np.array([prompt], np.int64)), config)
        for number, prompt in enumerate(prompts)
    ]
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return [handle.read_all()[0].generated_ids for handle in handles]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_fp16_engine_continues_prompts_as_transformers_does_in_float32(built, family):
    reference = built.reference(family)
    answers = reference["answers"]
    assert greedy(built.engine(family), reference["prompts"], len(answers[0])) == answers


def test_the_references_are_worth_comparing_with(built):
    """A model that repeats one token would let a broken cache or position through."""
    for family in FAMILIES:
        assert min(len(set(answer)) for answer in built.reference(family)["answers"]) > 5, family


def test_an_fp32_engine_continues_prompts_as_transformers_does(built):
    reference = built.reference("opt")
    answers = reference["answers"]
    assert greedy(built.engine("opt", "fp32"), reference["prompts"], len(answers[0])) == answers


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_compressed_engine_generates(built, precision):
    answers = greedy(built.engine("opt", precision), built.reference("opt")["prompts"], 20)
    assert [len(answer) for answer in answers] == [20, 20]
    assert all(0 <= token < 384 for answer in answers for token in answer)


def test_each_precision_takes_less_room_than_the_one_above(built):
    sizes = [
        (built.engine("opt", precision) / "engine/openvino_model.bin").stat().st_size
        for precision in ("fp32", "fp16", "int8", "int4")
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_rotary_frequencies_are_not_rounded_to_16_bits(built, family):
    """At position 2000 a half float's rounding would turn the fastest angle by a radian."""
    model = openvino.Core().read_model(built.engine(family) / "engine/openvino_model.xml")
    kinds = {
        op.get_element_type().get_type_name() for op in model.get_ops() if "rotary" in op.get_friendly_name()
    }
    assert "f32" in kinds
    assert "f16" not in kinds


def test_embeddings_that_are_tied_are_stored_once(built):
    """Twice 384 x 64 half floats would be 49 kB more."""
    weights = (built.checkpoints / "qwen2/model.safetensors").stat().st_size  # float32
    assert (built.engine("qwen2") / "engine/openvino_model.bin").stat().st_size < weights / 2 + 10_000


@pytest.mark.parametrize("family", FAMILIES)
def test_the_manifest_says_what_was_built(built, family):
    manifest = read_manifest(built.engine(family))
    assert manifest.engine == "openvino"
    assert manifest.model.name == family
    assert manifest.model.revision is None
    assert manifest.model.architecture == ARCHITECTURES[family]
    assert manifest.precision == "fp16"
    assert manifest.limits.max_seq_len == 128
    assert manifest.limits.max_input_len == 127
    assert manifest.tokenizer_sha256 == tokenizer_sha256(built.engine(family))
    assert {"openvino", "optimum_intel", "transformers", "torch", "nncf", "python"} <= set(manifest.versions)


def test_the_manifest_takes_every_end_id_of_the_generation_config(built):
    assert read_manifest(built.engine("qwen2")).defaults.end_ids == [0, 1]
    assert read_manifest(built.engine("opt")).defaults.end_ids == [2]


def test_an_engine_directory_holds_what_serving_reads_and_no_path_of_the_machine(built):
    engine = built.engine("qwen2")
    for name in ("engine/openvino_model.xml", "engine/openvino_model.bin", "engine/config.json"):
        assert (engine / name).is_file()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (engine / "tokenizer" / name).is_file()
    assert {path.name for path in engine.iterdir()} == {"manifest.json", "engine", "tokenizer"}
    here = str(built.checkpoints.parent).encode()
    assert not [path for path in engine.rglob("*") if path.is_file() and here in path.read_bytes()]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_json_alone_puts_the_beginning_token_where_the_model_wants_it(built, family):
    tokenizer = Tokenizer.from_file(str(built.engine(family) / "tokenizer/tokenizer.json"))
    tokens = tokenizer.encode("the quick brown fox").tokens
    assert (tokens[0] if family in FIRST_TOKEN else None) == FIRST_TOKEN.get(family)
    assert tokenizer.decode(tokenizer.encode("the quick 日本 😀").ids).strip() == "the quick 日本 😀"


def test_truncation_left_in_a_tokenizer_does_not_reach_serving(built):
    written = json.loads((built.engine("qwen2") / "tokenizer/tokenizer.json").read_bytes())
    assert json.loads((built.checkpoints / "qwen2/tokenizer.json").read_bytes())["truncation"] is not None
    assert written["truncation"] is None
