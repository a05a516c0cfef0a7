# SPDX-License-Identifier: Apache-2.0
"""Which files an engine directory must have, engine by engine; a build checks its result, preflight any."""

from __future__ import annotations

from pathlib import Path

from llm_ensemble.manifest import ENGINE, TOKENIZER

OPENVINO = ("openvino_model.xml", "openvino_model.bin", "config.json")


def missing_file(engine_dir: Path, engine: str, backend: str | None, tensor_parallel: int) -> Path | None:
    """The first file that is not there, relative to engine_dir; a pattern where any of its files would do."""
    wanted = [Path(ENGINE, name) for name in _of_engine(engine, backend, tensor_parallel)]
    wanted.append(Path(TOKENIZER, "tokenizer.json"))
    return next((path for path in wanted if not any(engine_dir.glob(str(path)))), None)


def _of_engine(engine: str, backend: str | None, tensor_parallel: int) -> tuple[str, ...]:
    if engine == "pace":
        return ()
    if engine == "openvino":
        return OPENVINO
    if backend == "pytorch":
        return ("config.json", "*.safetensors")
    return ("config.json", *(f"rank{rank}.engine" for rank in range(tensor_parallel)))
