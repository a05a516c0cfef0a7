# SPDX-License-Identifier: Apache-2.0
"""The manifest of an engine directory: what a build promises and serving relies on.

Knows the directory's layout and its one JSON file; knows nothing of any engine library.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from llm_ensemble.errors import EngineDirectoryError

SCHEMA = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"
ENGINE = "engine"
MODELOPT = "hf_quant_config.json"  # of a checkpoint: written beside the weights by NVIDIA's quantizer


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The checkpoint: hub name or folder name, hub revision if any, architecture class."""

    name: str
    revision: str | None
    architecture: str


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of an engine, in sequences (batch, beams) and tokens (the rest)."""

    max_batch_size: int
    max_input_len: int
    max_seq_len: int  # prompt and completion together
    max_num_tokens: int  # tokens one engine step may compute, over all requests
    max_beam_width: int = 1

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"limits.{name} must be at least 1, not {getattr(self, name)}")


class RequestDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults of a request: max_tokens, end token ids, padding id."""

    max_tokens: int
    end_ids: list[int]
    pad_id: int | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of manifest.json.

    versions: every library the build used, by the name one imports; for a TensorRT engine also cuda, gpu (its
    name) and compute_capability ("9.0"), since it runs on no other.
    """

    schema: int
    engine: str  # the engine kind (engines/kinds.py)
    backend: str | None = None  # of tensorrt_llm: "tensorrt" (a built engine) or "pytorch" (a checkpoint)
    model: Model
    precision: str  # "fp16", "int8", ... as the build was asked for it
    limits: Limits
    tensor_parallel: int  # GPUs that share each layer
    pipeline_parallel: int = 1  # groups of GPUs between which the layers are divided
    versions: dict[str, str]
    tokenizer_sha256: str
    defaults: RequestDefaults

    @property
    def gpus(self) -> int:
        """Return the GPUs of one instance of the engine."""
        return self.tensor_parallel * self.pipeline_parallel


def write_manifest(engine_dir: Path, manifest: Manifest) -> None:
    """Write manifest.json, the last file of a build: where it exists, the build is complete."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (engine_dir / MANIFEST).write_bytes(text + b"\n")


def read_manifest(engine_dir: Path) -> Manifest:
    """Read and check an engine directory's manifest.

    Raises EngineDirectoryError, one line that says what to do, when there is none or it is not one of ours.
    """
    path = engine_dir / MANIFEST
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EngineDirectoryError(
            f"{engine_dir} is not an engine directory: {MANIFEST} cannot be read "
            f"({error.strerror}); build one with: make build MODEL=... OUTPUT={engine_dir}"
        ) from error
    try:
        schema = msgspec.json.decode(raw, type=dict).get("schema")
        if schema != SCHEMA:
            raise EngineDirectoryError(
                f"{path} has schema {schema}, this version reads {SCHEMA}: build the engine again"
            )
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise EngineDirectoryError(f"{path} is damaged ({error}): build the engine again") from error


def tokenizer_sha256(engine_dir: Path) -> str:
    """Return a hash over the names and contents of all files of tokenizer/, in hexadecimal."""
    digest = hashlib.sha256()
    folder = engine_dir / TOKENIZER
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
