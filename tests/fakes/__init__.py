# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what cannot be had where this is developed."""

import contextlib
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def tensorrt_llm_imported():
    """Import the fake for a while: a process that is to look as if there were none can go on afterwards."""
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module("tensorrt_llm")
    finally:
        sys.path.remove(str(HERE))
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt_llm"]:
            del sys.modules[name]


def write_engine(folder: Path, openvino_ir: Path, mapping: dict | None = None, **build_config) -> Path:
    """An engine directory as trtllm-build leaves it, less what nothing reads."""
    folder.mkdir(parents=True, exist_ok=True)
    pretrained = {"architecture": "OPTForCausalLM", "max_position_embeddings": 512, "mapping": mapping or {}}
    build = {
        "max_batch_size": 4,
        "max_seq_len": 512,
        "max_num_tokens": 256,
        "max_beam_width": 1,
        **build_config,
    }
    config = {"version": "1.2.1", "pretrained_config": pretrained, "build_config": build}
    (folder / "config.json").write_text(json.dumps(config))
    for rank in range((mapping or {}).get("world_size", 1)):
        (folder / f"rank{rank}.engine").write_text(json.dumps({"openvino_ir": str(openvino_ir)}))
    return folder
