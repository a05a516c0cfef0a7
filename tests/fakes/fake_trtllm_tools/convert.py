# SPDX-License-Identifier: Apache-2.0
"""The convert_checkpoint.py of OPT and of Llama, and quantize.py."""

from fake_trtllm_tools.checkpoint import config_of, read_hugging_face, write
from fake_trtllm_tools.flags import parser_of

WEIGHT_ONLY = {"int8": "W8A16", "int4": "W4A16", "int8_gptq": "W8A16_GPTQ", "int4_gptq": "W4A16_GPTQ"}
QFORMATS = {
    "int8_wo": "W8A16",
    "int4_wo": "W4A16",
    "nvfp4": "NVFP4",
    "fp8": "FP8",
    "int4_awq": "W4A16_AWQ",
    "w4a8_awq": "W4A8_AWQ",
    "int8_sq": "W8A8_SQ_PER_CHANNEL",
    "full_prec": None,
}
GROUPED = ("int4_awq", "w4a8_awq")
LLAMA_LIKE = ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM")


def convert_opt() -> None:
    parser = parser_of("examples/models/contrib/opt/convert_checkpoint.py")
    args = parser.parse_args()
    source = read_hugging_face(args.model_dir, parser.error)
    if args.pp_size != 1:
        parser.error("--pp_size must be 1")
    _refuse_other_architectures(source, ("OPTForCausalLM",), parser)
    config = config_of(source, args, {"quant_algo": _weight_only(args)})
    for name in ("use_parallel_embedding", "embedding_sharding_dim"):
        config[name] = getattr(args, name)
    config["do_layer_norm_before"] = source.get("do_layer_norm_before", False)
    write(args.output_dir, config)


def convert_llama() -> None:
    parser = parser_of("examples/models/core/llama/convert_checkpoint.py")
    args = parser.parse_args()
    source = read_hugging_face(args.model_dir, parser.error)
    _refuse_other_architectures(source, LLAMA_LIKE, parser)
    if args.meta_ckpt_dir or args.quant_ckpt_path or args.save_config_only:
        parser.error("the fake converts Hugging Face checkpoints alone, with their weights")
    quantization = {"quant_algo": _llama_algorithm(args, parser)}
    if args.int8_kv_cache or args.fp8_kv_cache:
        quantization["kv_cache_quant_algo"] = "INT8" if args.int8_kv_cache else "FP8"
    write(args.output_dir, config_of(source, args, quantization))


def quantize() -> None:
    parser = parser_of("examples/quantization/quantize.py")
    args = parser.parse_args()
    source = read_hugging_face(args.model_dir, parser.error)
    if args.export_format != "tensorrt_llm" or args.autoq_format:
        parser.error("the fake exports for tensorrt_llm, in one format")
    quantization = {"quant_algo": QFORMATS[args.qformat]}
    if args.kv_cache_dtype:
        quantization["kv_cache_quant_algo"] = args.kv_cache_dtype.upper()
    if args.qformat in GROUPED:
        quantization |= {"group_size": args.awq_block_size, "pre_quant_scale": True}
    write(args.output_dir, config_of(source, args, quantization))


def _refuse_other_architectures(source: dict, known: tuple[str, ...], parser) -> None:
    if source["architectures"][0] not in known:
        parser.error(f"cannot convert {source['architectures'][0]}, only {', '.join(known)}")


def _weight_only(args) -> str | None:
    return WEIGHT_ONLY[args.weight_only_precision] if args.use_weight_only else None


def _llama_algorithm(args, parser) -> str | None:
    if args.use_weight_only and args.weight_only_precision == "int4_awq":
        parser.error("int4_awq needs a checkpoint that quantize.py made")
    if args.use_fp8 or args.use_nvfp4 or args.use_fp8_rowwise:
        return "FP8" if args.use_fp8 else "NVFP4" if args.use_nvfp4 else "FP8_PER_CHANNEL_PER_TOKEN"
    if args.smoothquant is None:
        return _weight_only(args)
    if not args.per_channel and not args.per_token:
        return "W8A8_SQ_PER_TENSOR_PLUGIN"
    first = "CHANNEL" if args.per_channel else "TENSOR"
    return f"W8A8_SQ_PER_{first}_PER_{'TOKEN' if args.per_token else 'TENSOR'}_PLUGIN"
