# SPDX-License-Identifier: Apache-2.0
"""What an order for GPUs comes to, and what is refused before anything starts."""

import json

import pytest

from build_scripts.checkpoint import inspect_checkpoint
from build_scripts.command_line import parse
from build_scripts.errors import BuildError
from build_scripts.fetch import Source
from build_scripts.tensorrt_llm.families import FAMILIES, NEAREST, PRECISIONS, SUPPORTED
from build_scripts.tensorrt_llm.plan import resolve_plan
from tests.gpu_machine import A100, H100, T4, gpu

OPT, LLAMA, QWEN3 = "OPTForCausalLM", "LlamaForCausalLM", "Qwen3ForCausalLM"
GPT2_SIZES = {"max_position_embeddings": None, "n_positions": 1024}
FP8 = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}


def config(architecture, **changes):
    sizes = {"num_attention_heads": 12, "max_position_embeddings": 2048, "torch_dtype": "float16"}
    return {"architectures": [architecture], **sizes, **changes}


@pytest.fixture
def decided(tmp_path, gpu_machine):
    """decided(architecture, *options): the plan for a checkpoint with such a config.json."""

    def run(architecture, *options, gpus=(H100,), modelopt=None, **changes):
        (tmp_path / "config.json").write_text(json.dumps(config(architecture, **changes)))
        if modelopt:
            (tmp_path / "hf_quant_config.json").write_text(json.dumps(modelopt))
        checkpoint = inspect_checkpoint(Source(tmp_path, "m", None), SUPPORTED, trust_remote_code=False)
        order = parse(["--model", "m", "--output", "e", "--engine", "tensorrt_llm", *options])
        return resolve_plan(order, checkpoint, [gpu(line) for line in gpus])

    return run


def test_opt_is_an_engine_in_16_bits_with_the_usual_limits(decided):
    plan = decided(OPT)
    assert (plan.backend, plan.precision, plan.dtype, plan.tensor_parallel) == (
        "tensorrt",
        "fp16",
        "float16",
        1,
    )
    limits = plan.limits
    assert (limits.max_batch_size, limits.max_input_len, limits.max_seq_len) == (128, 2047, 2048)
    assert (limits.max_num_tokens, limits.max_beam_width) == (8192, 1)


def test_limits_are_what_was_ordered(decided):
    options = "--max-batch-size 4 --max-input-len 100 --max-seq-len 200 --max-num-tokens 300"
    limits = decided(OPT, *options.split(), "--max-beam-width", "3").limits
    assert [getattr(limits, name) for name in limits.__struct_fields__] == [4, 100, 200, 300, 3]


def test_no_step_is_larger_than_all_requests_together(decided):
    limits = decided(OPT, "--max-batch-size", "2", "--max-seq-len", "100").limits
    assert limits.max_num_tokens == 200


@pytest.mark.parametrize(
    ("stored", "gpus", "precision", "dtype"),
    [
        ("bfloat16", H100, None, "bfloat16"),
        ("bfloat16", T4, None, "float16"),
        ("float32", H100, None, "float16"),
        ("bfloat16", H100, "int8", "bfloat16"),
        ("bfloat16", T4, "int8", "float16"),
        ("bfloat16", H100, "smoothquant", "float16"),
        ("float16", H100, "bf16", "bfloat16"),
        ("bfloat16", H100, "fp16", "float16"),
    ],
)
def test_what_stays_unquantized_keeps_the_checkpoint_s_kind_of_16_bits(
    decided, stored, gpus, precision, dtype
):
    options = ["--precision", precision] if precision else []
    plan = decided(LLAMA, *options, gpus=[gpus], torch_dtype=stored)
    assert plan.dtype == dtype
    assert plan.precision == precision or {"bfloat16": "bf16", "float16": "fp16"}[dtype]


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_of_the_table_is_planned_and_each_other_refused_with_one_that_is(
    decided, architecture, precision
):
    family = FAMILIES[architecture]
    if not family.precisions:
        with pytest.raises(BuildError, match="stored in fp16"):
            decided(architecture, "--precision", "bf16")
    elif precision in family.precisions:
        assert decided(architecture, "--precision", precision).precision == precision
    else:
        with pytest.raises(BuildError) as caught:
            decided(architecture, "--precision", precision)
        advised = str(caught.value).rsplit(" ", 1)[1]
        assert advised in NEAREST[precision]
        assert decided(architecture, "--precision", advised).precision == advised


def test_a_family_that_only_the_pytorch_backend_serves_goes_there(decided):
    plan = decided(QWEN3, torch_dtype="bfloat16")
    assert (plan.backend, plan.precision) == ("pytorch", "bf16")


def test_the_pytorch_backend_takes_a_quantized_checkpoint_as_it_is(decided):
    assert decided(LLAMA, "--backend", "pytorch", modelopt=FP8).precision == "fp8"
    awq = {"quantization": {"quant_algo": "W4A16_AWQ"}}
    assert decided(LLAMA, "--backend", "pytorch", modelopt=awq).precision == "int4_awq"


def test_the_pytorch_backend_needs_neither_gpu_nor_library_to_be_prepared(decided, gpu_machine):
    gpu_machine.install("tensorrt_llm", None)
    assert decided(LLAMA, "--backend", "pytorch", gpus=[]).backend == "pytorch"


@pytest.mark.parametrize(
    ("architecture", "options", "changes", "told"),
    [
        (OPT, "--precision fp8", {}, "^OPT has no fp8 engine; int8 is the nearest: --precision int8$"),
        (OPT, "--precision int4_awq", {}, "^OPT has no int4_awq engine; int4 is the nearest"),
        ("GPT2LMHeadModel", "--precision bf16", {}, "^GPT-2 has no bf16 engine; fp16 is the nearest"),
        ("FalconForCausalLM", "--precision smoothquant", {}, "int8 is the nearest"),
        (LLAMA, "--precision fp8", {"gpus": [A100]}, r"8\.9 or more, NVIDIA A100.* has 8\.0; int8 is the"),
        (LLAMA, "--precision bf16", {"gpus": [H100, T4]}, r"8\.0 or more, Tesla T4 has 7\.5; fp16 is the"),
        (OPT, "--backend pytorch", {}, "does not serve OPT: use --backend tensorrt$"),
        (QWEN3, "--backend tensorrt", {}, "Qwen3 is for .*PyTorch backend: use --backend pytorch$"),
        (OPT, "", {"gpus": []}, "no NVIDIA GPU is to be seen .*--gpus all"),
        (LLAMA, "", {"modelopt": FP8}, "quantized already: .*original checkpoint, or use --backend pytorch$"),
        (OPT, "", {"quantization_config": {"quant_method": "gptq"}}, "the original checkpoint$"),
        (
            LLAMA,
            "--backend pytorch",
            {"quantization_config": {"quant_method": "gptq"}},
            "quantized by gptq: .*ModelOpt",
        ),
        (LLAMA, "--backend pytorch", {"torch_dtype": None}, "does not say in which torch_dtype"),
        (LLAMA, "--backend pytorch --precision fp8", {}, "--precision fp8: m is stored in fp16, .*ModelOpt"),
        (LLAMA, "--backend pytorch --log-probs", {}, "^--log-probs is for --backend tensorrt$"),
        (LLAMA, "--backend pytorch --examples /x", {}, "^--examples is for --backend tensorrt$"),
        (LLAMA, "--calib-dataset texts", {}, "^--calib-dataset is for fp8, int4_awq, smoothquant: fp16 is"),
        (LLAMA, "--tensor-parallel 5", {}, "12 attention heads must divide evenly; give 1 or 2 or 4$"),
        (LLAMA, "--tensor-parallel 0", {}, "^--tensor-parallel 0"),
        (OPT, "--max-seq-len 4096", {}, "^--max-seq-len 4096: the model has 2048 positions; give 2 to 2048"),
        ("GPT2LMHeadModel", "--max-seq-len 2000", GPT2_SIZES, "give 2 to 1024$"),
        (OPT, "--max-input-len 2048", {}, "^--max-input-len 2048: .* 2047 at most"),
        (OPT, "--max-input-len 0", {}, "^--max-input-len 0: give 1 or more"),
        (OPT, "--max-beam-width 0", {}, "^--max-beam-width 0: give 1 or more"),
        (QWEN3, "--max-beam-width 2", {}, "^--max-beam-width 2: --backend pytorch serves no beam search"),
        (OPT, "--max-num-tokens 100", {}, "^--max-num-tokens 100: .* 128 requests with 1 beams needs 128"),
        (OPT, "--precision fp32", {}, "fp32 is not one of --engine tensorrt_llm: fp16, bf16, int8"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(decided, architecture, options, changes, told):
    with pytest.raises(BuildError, match=told) as caught:
        decided(architecture, *options.split(), **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "architecture", "told"),
    [
        (
            "1.3.0",
            LLAMA,
            "1.3.0 .*its last release is 1.3.0rc20.*26.07-trtllm-python-py3, or use --backend py",
        ),
        ("1.3.0rc20", OPT, "its last release is 1.3.0rc20.*26.07-trtllm-python-py3$"),
        ("2.0", OPT, "its last release is 1.3.0rc20"),
        ("1.1.0", OPT, "this was written for 1.2"),
        (None, OPT, "not installed here: build in .*26.07-trtllm-python-py3$"),
    ],
)
def test_engines_are_built_by_tensorrt_llm_1_2_alone(decided, gpu_machine, version, architecture, told):
    gpu_machine.install("tensorrt_llm", version)
    with pytest.raises(BuildError, match=told):
        decided(architecture)


@pytest.mark.parametrize(
    "option",
    [
        "--backend tensorrt",
        "--max-input-len 5",
        "--max-num-tokens 5",
        "--max-beam-width 0",
        "--tensor-parallel 1",
        "--log-probs",
        "--calib-dataset texts",
        "--examples /x",
    ],
)
def test_an_option_that_means_nothing_to_openvino_is_refused_by_name(option):
    name = option.split()[0]
    with pytest.raises(BuildError, match=f"^{name} is for --engine tensorrt_llm"):
        parse(["--model", "m", "--output", "e", "--engine", "openvino", *option.split()])


def test_a_precision_of_the_other_engine_is_refused_with_those_there_are():
    with pytest.raises(BuildError, match="fp8 is not one of --engine openvino: fp32, fp16, int8, int4"):
        parse(["--model", "m", "--output", "e", "--engine", "openvino", "--precision", "fp8"])


def test_a_family_that_is_not_in_the_table_is_named_with_those_that_are(decided):
    with pytest.raises(BuildError, match=r"GemmaForCausalLM is not supported.*OPT, Llama.*Falcon"):
        decided("GemmaForCausalLM")


def test_every_family_is_served_by_some_backend():
    assert all(family.pytorch or "fp16" in family.precisions for family in FAMILIES.values())
