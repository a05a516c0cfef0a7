# SPDX-License-Identifier: Apache-2.0
"""What an order for vLLM comes to, and what is refused before anything is fetched."""

import json

import pytest

from build_scripts.checkpoint import inspect_checkpoint
from build_scripts.command_line import parse
from build_scripts.errors import BuildError
from build_scripts.fetch import Source
from build_scripts.vllm.architectures import SUPPORTED
from build_scripts.vllm.build import resolve_plan
from build_scripts.vllm.precision import METHODS
from tests.gpu_machine import H100

OPT = "OPTForCausalLM"


@pytest.fixture
def planned(tmp_path):
    """planned(*options): the plan for a checkpoint with such a config.json; files: more, by name."""

    def run(*options, files=(), **changes):
        sizes = {"num_attention_heads": 12, "num_hidden_layers": 4, "max_position_embeddings": 2048}
        config = {"architectures": [OPT], "torch_dtype": "float16", **sizes, **changes}
        (tmp_path / "config.json").write_text(json.dumps(config))
        for name, content in dict(files).items():
            (tmp_path / name).write_text(json.dumps(content))
        order = parse(["--model", "m", "--output", "e", "--engine", "vllm", *options])
        trusted = order.trust_remote_code
        checkpoint = inspect_checkpoint(Source(tmp_path, "m", None), SUPPORTED, trust_remote_code=trusted)
        return resolve_plan(order, checkpoint)

    return run


def quantized(method, **more):
    return {"quantization_config": {"quant_method": method, **more}}


def modelopt_file(algorithm):
    return {
        "hf_quant_config.json": {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": algorithm}}
    }


def test_without_options_the_model_is_served_as_it_is_and_with_the_usual_limits(planned):
    plan = planned()
    limits = plan.limits
    assert (plan.precision, plan.tensor_parallel, plan.pipeline_parallel) == ("fp16", 1, 1)
    assert (limits.max_batch_size, limits.max_input_len, limits.max_seq_len) == (256, 2047, 2048)
    assert (limits.max_num_tokens, limits.max_beam_width) == (8192, 1)


def test_limits_and_gpus_are_what_was_ordered(planned):
    options = "--max-batch-size 4 --max-input-len 100 --max-seq-len 200 --max-num-tokens 300"
    plan = planned(*options.split(), "--tensor-parallel", "2", "--pipeline-parallel", "4")
    limits = plan.limits
    assert [getattr(limits, name) for name in limits.__struct_fields__] == [4, 100, 200, 300, 1]
    assert (plan.tensor_parallel, plan.pipeline_parallel) == (2, 4)


def test_a_long_model_gets_8192_tokens_unless_more_are_ordered(planned):
    assert planned(max_position_embeddings=131072).limits.max_seq_len == 8192
    assert planned("--max-seq-len", "131072", max_position_embeddings=131072).limits.max_seq_len == 131072


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32", "fp8"])
def test_full_weights_can_be_served_in_another_precision(planned, precision):
    assert planned("--precision", precision, torch_dtype="bfloat16").precision == precision
    assert planned("--precision", precision, torch_dtype=None).precision == precision


@pytest.mark.parametrize("method", METHODS)
def test_a_quantized_checkpoint_is_served_as_it_is(planned, method):
    algorithm = {"quant_algo": "FP8"} if method == "modelopt" else {}
    assert planned(**quantized(method, **algorithm)).precision == ("fp8" if algorithm else method)


@pytest.mark.parametrize(
    ("files", "changes", "precision"),
    [
        ((), quantized("compressed_tensors"), "compressed-tensors"),
        ((), {"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ((), quantized("modelopt", quant_algo="NVFP4"), "nvfp4"),
        ((), quantized("modelopt", quantization={"quant_algo": "MIXED_PRECISION"}), "mixed_precision"),
        (modelopt_file("FP8"), {}, "fp8"),
        (modelopt_file("NVFP4"), {}, "nvfp4"),
    ],
)
def test_a_quantization_may_be_told_in_several_ways(planned, files, changes, precision):
    assert planned(files=files, **changes).precision == precision


def test_the_precision_that_a_quantized_checkpoint_has_may_be_said(planned):
    assert planned("--precision", "fp8", **quantized("fp8")).precision == "fp8"


@pytest.mark.parametrize(
    ("options", "changes", "told"),
    [
        ("", quantized("aqlm"), "^m is quantized by aqlm, and vLLM 0.23 has no method for it; it serves"),
        ("", quantized("fbgemm_fp8"), "quantized by fbgemm_fp8, and vLLM 0.23 has given it up"),
        ("", {"quantization_config": {"load_in_4bit": True}}, "quantized by an unknown method"),
        ("", quantized("modelopt", quant_algo="W4A16_AWQ"), "ModelOpt's W4A16_AWQ, which vLLM 0.23 does not"),
        ("", {"files": modelopt_file("MIXED_PRECISION")}, "ModelOpt's MIXED_PRECISION"),
        ("", {"files": {"quantize_config.json": {"bits": 4}}}, "has quantize_config.json and no quant"),
        ("--precision bf16", quantized("awq"), r"^--precision bf16: m is quantized \(awq\), .*leave the"),
        ("--precision int8", {}, "int8 is not one of --engine vllm: fp16, bf16, fp32, fp8$"),
        ("--precision int4_awq", {}, "int4_awq is not one of --engine vllm"),
        ("", {"torch_dtype": None}, "does not say in which torch_dtype .*--precision fp16, bf16 or fp32$"),
        ("", {"architectures": ["BertModel"]}, "^architecture BertModel is not supported; .* vLLM 0.23 has$"),
        ("", {"architectures": ["Qwen2VLForConditionalGeneration"]}, "Qwen2VL.* is not supported"),
        ("--max-beam-width 2", {}, "^--max-beam-width 2: vLLM serves no beam search; leave it out$"),
        ("--tensor-parallel 5", {}, "12 attention heads must divide evenly; give 1 or 2 or 4$"),
        ("--pipeline-parallel 5", {}, "^--pipeline-parallel 5: the model has 4 layers; give 4 at most$"),
        ("--pipeline-parallel 0", {}, "^--pipeline-parallel 0: give 1 or more$"),
        ("--max-num-tokens 100", {}, "^--max-num-tokens 100: .* 256 requests"),
        ("--max-seq-len 4096", {}, "the model has 2048 positions; give 2 to 2048$"),
        ("--backend pytorch", {}, "^--backend is for --engine tensorrt_llm; vllm does not have it$"),
        ("--log-probs", {}, "^--log-probs is for --engine tensorrt_llm"),
        ("", {"auto_map": {"AutoModelForCausalLM": "own.Model"}}, "m needs its own code"),
    ],
)  # fmt: skip
def test_what_vllm_cannot_do_is_refused_in_one_line(planned, options, changes, told):
    with pytest.raises(BuildError, match=told) as caught:
        planned(*options.split(), **changes)
    assert "\n" not in str(caught.value)


def test_a_configuration_class_of_vllm_s_own_is_no_reason_to_refuse(planned):
    mapped = {"AutoConfig": "configuration_chatglm.ChatGLMConfig"}
    assert planned("--trust-remote-code", auto_map=mapped, model_type="chatglm").precision == "fp16"


@pytest.mark.parametrize("engine", ["openvino", "tensorrt_llm"])
def test_pipeline_parallel_is_for_vllm_alone(engine):
    with pytest.raises(
        BuildError, match=f"^--pipeline-parallel is for --engine vllm; {engine} does not have"
    ):
        parse(["--model", "m", "--engine", engine, "--pipeline-parallel", "2"])


def test_vllm_is_the_default_where_it_and_a_gpu_are_and_tensorrt_llm_is_not(gpu_machine):
    gpu_machine.install("vllm", "0.23.0")
    assert parse(["--model", "m"]).engine == "tensorrt_llm"
    gpu_machine.install("tensorrt_llm", None)
    assert parse(["--model", "m"]).engine == "vllm"
    gpu_machine.set_gpus()
    assert parse(["--model", "m"]).engine == "openvino"
    gpu_machine.set_gpus(H100)
    gpu_machine.install("vllm", None)
    assert parse(["--model", "m"]).engine == "openvino"
