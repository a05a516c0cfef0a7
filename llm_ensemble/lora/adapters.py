# SPDX-License-Identifier: Apache-2.0
"""The adapters of LORA_DIR: their names, what a request may name, and whether they fit the model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import RequestError, SettingError
from llm_ensemble.lora.adapter import CONFIG, Adapter, read_adapter

MAX_NAME_LENGTH = 64  # characters of an unknown name that a message repeats
MAX_LISTED = 20  # names in a message
NAME = re.compile(r"[A-Za-z0-9._-]+")  # what every program takes alike, in paths, JSON and logs
MOST = 8  # in memory, unless MAX_LORAS says otherwise

# Inputs and outputs of linear layers, by their names; None where they are not known.
ModuleSizes = Mapping[str, tuple[int, int] | None]


@dataclass(frozen=True)
class Adapters:
    """The adapters by name, sorted. most: how many may be in memory, as the operator has set it; 0: unset."""

    by_name: Mapping[str, Adapter] = field(default_factory=dict)
    most: int = 0

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self.by_name.values())

    @property
    def in_memory(self) -> int:
        """How many are in memory at a time."""
        return min(self.most or MOST, len(self.by_name))

    @property
    def rank(self) -> int:
        """The highest rank of all."""
        return max(adapter.rank for adapter in self)

    def number(self, name: str) -> int:
        """Return the number of an adapter, from 1 on: some libraries know them by numbers."""
        return 1 + [*self.by_name].index(name)

    def check(self, sampling: Sampling) -> None:
        """Raise RequestError if a request names an adapter that there is not."""
        name = sampling.lora
        if not name or name in self.by_name:
            return
        if not self:
            raise RequestError(
                sampling.lora_field, "no adapters are served here (LORA_DIR is not set); leave it out"
            )
        raise RequestError(sampling.lora_field, unknown(name, [*self.by_name]))

    def check_no_patterns(self, engine: str) -> None:
        """Raise SettingError for an adapter whose modules differ in alpha or rank: some engines ignore it."""
        for adapter in self:
            if adapter.has_patterns:
                raise SettingError(
                    f"adapter {adapter.folder}: the {engine} engine has no alpha_pattern and no rank_pattern"
                    "; take it out of LORA_DIR, or train one without"
                )

    def check_fit(self, sizes: ModuleSizes) -> None:
        """Raise SettingError for an adapter that was not made for a model with these linear layers."""
        for adapter in self:
            for module, shape in adapter.modules.items():
                if module not in sizes:
                    near = difflib.get_close_matches(module, sizes, n=1)
                    advice = f" (it has {near[0]})" if near else ""
                    raise SettingError(
                        f"adapter {adapter.folder}: the model has no linear layer {module}{advice}; take the "
                        "adapter out of LORA_DIR, or train one for this model"
                    )
                size, wanted = sizes[module], (shape.inputs, shape.outputs)
                if size and size != wanted:
                    raise SettingError(
                        f"adapter {adapter.folder}: {module} is {size[0]} x {size[1]} in the model and "
                        f"{wanted[0]} x {wanted[1]} in the adapter; take it out of LORA_DIR, or train one "
                        "for this model"
                    )


def unknown(name: str, names: list[str]) -> str:
    """Return the words about a name that there is not: the nearest, and all there are."""
    short = name[:MAX_NAME_LENGTH]
    near = difflib.get_close_matches(short, names, n=1)
    advice = f"did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    return f"there is no {short!r}; {advice}Served are {listed}"


def read_adapters(folder: Path | None, most: int = 0) -> Adapters:
    """Return the adapters in a folder's subfolders; none if the folder is None. Raise SettingError."""
    if folder is None:
        if most:
            raise SettingError("MAX_LORAS has no effect without LORA_DIR: set that, or unset MAX_LORAS")
        return Adapters()
    try:
        folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError as error:
        raise SettingError(
            f"LORA_DIR={folder} cannot be read ({error.strerror}): it must be a folder"
        ) from error
    if not folders:
        raise SettingError(
            f"LORA_DIR={folder} has no adapters: put a folder with {CONFIG} for each into it, or unset it"
        )
    if odd := next((path.name for path in folders if not NAME.fullmatch(path.name)), None):
        raise SettingError(
            f"LORA_DIR={folder} has the folder {odd!r}, which cannot be an adapter's name: rename it to "
            "letters, digits, dots, dashes and underscores"
        )
    return Adapters({path.name: read_adapter(path) for path in folders}, most)
