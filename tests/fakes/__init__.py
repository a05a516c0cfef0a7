# SPDX-License-Identifier: Apache-2.0
"""Fakes of libraries that are not available where this is developed."""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
BESIDE = HERE / "beside"  # what is installed with the library: torch, which other tests have the real one of
VERSION = "1.2.1"
NEWER = "1.4.0rc1"  # the newest whose documentation was read


@contextlib.contextmanager
def tensorrt_llm_imported(version=VERSION):
    """Import the fake inside the context; afterwards the process is as if it had never been imported."""
    before = _take_modules()
    environ = os.environ.get("FAKE_TRTLLM_VERSION")
    sys.path[:0] = str(HERE), str(BESIDE)
    os.environ["FAKE_TRTLLM_VERSION"] = version
    try:
        yield importlib.import_module("tensorrt_llm")
    finally:
        os.environ.pop("FAKE_TRTLLM_VERSION", None)
        if environ is not None:
            os.environ["FAKE_TRTLLM_VERSION"] = environ
        sys.path.remove(str(HERE))
        sys.path.remove(str(BESIDE))
        _take_modules()
        sys.modules.update(before)


def _take_modules():
    """Remove the fake's modules, so that they can be imported again; return them."""
    names = [name for name in sys.modules if name.split(".")[0] in ("tensorrt_llm", "torch")]
    return {name: sys.modules.pop(name) for name in names}


def write_engine(folder: Path, openvino_ir: Path, mapping: dict | None = None, **build_config) -> Path:
    """Write an engine directory as trtllm-build does, without what is never read; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    pretrained = {
        **{"architecture": "OPTForCausalLM", "max_position_embeddings": 512, "vocab_size": 4096},
        "mapping": mapping or {},
    }
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
