# SPDX-License-Identifier: Apache-2.0
"""Find the checkpoint of a build, in a local folder or on the Hugging Face hub (stage "fetch")."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from build_scripts.errors import BuildError


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint on this machine: its folder, the name to serve it under, the hub commit if it has one."""

    folder: Path
    name: str
    revision: str | None


def fetch(model: str, *, code: bool = False, weights: bool = True) -> Source:
    """Return the checkpoint called `model`: a local folder if there is one, else a hub repository.

    Of a hub repository its Python code is fetched only if `code`, and its weights only if `weights`. Raise
    BuildError if there is neither folder nor repository, no network, or no permission.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return Source(folder, folder.resolve().name, None)
    if folder.exists():
        raise BuildError(f"{model} is a file: give the checkpoint's folder")
    if not _is_hub_name(model):
        raise BuildError(
            f"{model}: no such folder, and no Hugging Face hub name either (those look like owner/name)"
        )
    return _from_hub(model, code, weights)


def wanted_files(names: Sequence[str], *, code: bool = False, weights: bool = True) -> list[str]:
    """Return the files of a hub repository that a build reads: JSON files, tokenizer, chat templates, one set
    of weights if `weights`, and Python if `code`.

    Weights come as safetensors where there are any, else as PyTorch's own .bin (as of facebook/opt-125m).
    Files in other subfolders are other formats of the same model, and consolidated.safetensors a second copy.
    """
    top = [name for name in names if "/" not in name]
    large = [name for name in top if name.startswith("model") and name.endswith(".safetensors")]
    large = large or [name for name in top if name.startswith("pytorch_model") and name.endswith(".bin")]
    small = (".json", ".txt", ".model", ".jinja", *((".py",) if code else ()))
    chat = [name for name in names if fnmatch(name, "additional_chat_templates/*.jinja")]
    return (large if weights else []) + [name for name in top if name.endswith(small)] + chat


def _is_hub_name(model: str) -> bool:
    owner, _, name = model.partition("/")
    parts = [owner, name] if name else [owner]
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return all(part and set(part) <= allowed and part[0] not in "-." for part in parts)


def _from_hub(model: str, code: bool, weights: bool) -> Source:
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        try:
            siblings = HfApi().model_info(model, timeout=20).siblings or []
            files = wanted_files([file.rfilename for file in siblings], code=code, weights=weights)
            folder = Path(snapshot_download(model, allow_patterns=files))
        except (httpx.TransportError, errors.OfflineModeIsEnabled):
            folder = Path(snapshot_download(model, local_files_only=True))  # fetched by an earlier build
        return Source(folder, model, folder.name)  # the cache calls a snapshot's folder by its commit
    except errors.GatedRepoError as error:
        raise BuildError(
            f"{model} is gated: accept its terms on the hub and set HF_TOKEN to your token"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BuildError(
            f"{model}: no such folder, and the hub shows no such model (a private one needs HF_TOKEN)"
        ) from error
    except (errors.LocalEntryNotFoundError, httpx.TransportError) as error:
        raise BuildError(
            f"{model}: no such folder, and the hub cannot be reached: check the network or give a folder"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = "check HF_TOKEN" if status in (401, 403) else "try again later"
        raise BuildError(f"{model}: the hub answered {status}: {advice}, or give a local folder") from error
