# SPDX-License-Identifier: Apache-2.0
"""trtllm-build: makes an engine directory whose engine files name the OpenVINO IR that computes instead."""

import json
import os
import re
from pathlib import Path

from fake_trtllm_tools.checkpoint import MANDATORY, NOT_QUANTIZED
from fake_trtllm_tools.flags import SHEET, parser_of

DROPPED = ("dry_run", "visualize_network")
NOT_DONE = ("model_config", "build_config", "model_cls_file", "model_cls_name", "paged_kv_cache")
LORA = ("lora_dir", "lora_ckpt_source", "max_lora_rank", "lora_target_modules")


def main() -> None:
    parser = parser_of("trtllm-build")
    args = parser.parse_args()
    if args.checkpoint_dir is None:
        parser.error("--checkpoint_dir is required")
    if used := [name for name in NOT_DONE if getattr(args, name) is not None]:
        parser.error(f"the fake does nothing with {', '.join(used)}")
    pretrained = _read_checkpoint(Path(args.checkpoint_dir), parser.error)
    if args.logits_dtype:
        pretrained["logits_dtype"] = args.logits_dtype
    if "FAKE_TRTLLM_IR" not in os.environ:
        parser.error("the fake wants FAKE_TRTLLM_IR, a folder with an OpenVINO IR")
    build = build_config(vars(args), pretrained)
    if args.dry_run:
        return
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    config = {"version": "1.2.1", "pretrained_config": pretrained, "build_config": build}
    (output / "config.json").write_text(json.dumps(config, indent=4))
    for rank in range(pretrained["mapping"]["world_size"]):
        engine = {"openvino_ir": os.path.abspath(os.environ["FAKE_TRTLLM_IR"])}
        (output / f"rank{rank}.engine").write_text(json.dumps(engine))


def _read_checkpoint(folder: Path, fail) -> dict:
    if not (folder / "config.json").is_file():
        fail(f"{folder}/config.json: no such file")
    config = json.loads((folder / "config.json").read_text())
    if missing := [key for key in MANDATORY if config.get(key) is None]:
        fail(f"{folder}/config.json lacks {', '.join(missing)}")
    config["mapping"] = {"world_size": 1, "tp_size": 1, "pp_size": 1, **config.get("mapping", {})}
    config["quantization"] = {**NOT_QUANTIZED, **config.get("quantization", {})}
    for rank in range(config["mapping"]["world_size"]):
        if not (folder / f"rank{rank}.safetensors").is_file():
            fail(f"{folder}/rank{rank}.safetensors: no such file")
    return config


def build_config(flags: dict, pretrained: dict) -> dict:
    """Return the fields of BuildConfig, from the flags of the same name, else the default."""
    sheet = json.loads(SHEET.read_text())
    fields = {name: fact["default"] for name, fact in sheet["classes"]["BuildConfig"].items()}
    config = {name: flags.get(name, default) for name, default in fields.items() if name not in DROPPED}
    gather_all = flags["gather_all_token_logits"]
    for name in ("gather_context_logits", "gather_generation_logits"):
        config[name] = config[name] or gather_all
    config["max_seq_len"] = config["max_seq_len"] or pretrained.get("max_position_embeddings") or 2048
    config["max_input_len"] = min(config["max_input_len"], config["max_seq_len"])
    config["opt_num_tokens"] = config["opt_num_tokens"] or config["max_batch_size"] * config["max_beam_width"]
    config["kv_cache_type"] = (flags["kv_cache_type"] or "paged").upper()
    config["speculative_decoding_mode"] = (flags["speculative_decoding_mode"] or "none").upper()
    config["use_strip_plan"] = flags["strip_plan"]
    config["lora_config"] = {name: flags[name] for name in LORA}
    config["plugin_config"] = _plugins(flags, sheet["cli"]["trtllm-build"])
    return config


def _plugins(flags: dict, cli: dict) -> dict:
    """The sheet lists them last, after --max_draft_len. disable is null, enable is true."""
    names = [re.sub("^--", "", name) for name in cli]
    names = names[names.index("max_draft_len") + 1 :]
    words = {"enable": True, "disable": None}
    switches = {name: cli[f"--{name}"]["type"] == "enable|disable" for name in names}
    return {
        name: words.get(flags[name], flags[name]) if not switches[name] else flags[name] == "enable"
        for name in names
    }
