# SPDX-License-Identifier: Apache-2.0
"""What the frontend knows of the model that is served, read from the engine directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from llm_ensemble.errors import SettingError
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.manifest import MANIFEST, Limits, Manifest, read_manifest
from llm_ensemble.preprocessing.chat import ChatTemplate, load_chat_template
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from openai_frontend.errors import unknown_model
from openai_frontend.parsers.choice import Parsers, choose
from openai_frontend.parsers.formats import AUTO

FINGERPRINT_DIGITS = 10


@dataclass(frozen=True)
class ServedModel:
    """A model as OpenAI's API shows it.

    names: by which requests may name it, the first being its own. adapters: names of its LoRA adapters, by
    which requests may name it, too. created: when it was built, in seconds
    since 1970. fingerprint: of the manifest, as `system_fingerprint`. chat: None without a chat template.
    parsers: how its answers are read.
    """

    names: tuple[str, ...]
    created: int
    fingerprint: str
    limits: Limits
    tokenizer: Tokenizer
    chat: ChatTemplate | None
    parsers: Parsers = Parsers()

    adapters: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        engine_dir: Path,
        name: str = "",
        tool_parser: str = AUTO,
        reasoning_parser: str = AUTO,
        adapters: Adapters | None = None,
    ) -> ServedModel:
        """Read an engine directory. Raise EngineDirectoryError or SettingError.

        name: see model_names. tool_parser, reasoning_parser: see FrontendSettings.
        """
        manifest, path = read_manifest(engine_dir), engine_dir / MANIFEST
        tokenizer, chat = load_tokenizer(engine_dir), load_chat_template(engine_dir)
        names = model_names(manifest, name)
        adapters = adapters or Adapters()
        check_names(names, adapters)
        return cls(
            names=names,
            adapters=tuple(adapters.by_name),
            created=int(path.stat().st_mtime),
            fingerprint="fp_" + hashlib.sha256(path.read_bytes()).hexdigest()[:FINGERPRINT_DIGITS],
            limits=manifest.limits,
            tokenizer=tokenizer,
            chat=chat,
            parsers=choose(chat, tokenizer, tool_parser, reasoning_parser),
        )

    @property
    def has_chat_template(self) -> bool:
        """Whether it takes messages."""
        return self.chat is not None

    def check_name(self, name: str) -> None:
        """Raise ApiError for a model that is not this one."""
        if name not in self.names and name not in self.adapters:
            raise unknown_model(name, (*self.names, *self.adapters))

    def adapter(self, name: str) -> str:
        """Return the adapter that a model's name stands for, "" for the model as it is."""
        return name if name in self.adapters else ""


def model_names(manifest: Manifest, name: str) -> tuple[str, ...]:
    """Return the names of the model as it is, the first being its own.

    name: instead of the checkpoint's; several, with commas between them, are names of the same model.
    """
    given = tuple(one.strip() for one in name.split(",") if one.strip())
    return given or (manifest.model.name,)


def check_names(names: tuple[str, ...], adapters: Adapters) -> None:
    """Raise SettingError for an adapter that has a name of the model's."""
    for name in names:
        if name in adapters.by_name:
            raise SettingError(
                f"LORA_DIR has an adapter {name!r}, which is the model's name, too: rename its folder, or "
                "set OPENAI_MODEL_NAME"
            )
