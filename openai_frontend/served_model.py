# SPDX-License-Identifier: Apache-2.0
"""What the frontend knows of the model that is served, read from the engine directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from llm_ensemble.manifest import MANIFEST, Limits, read_manifest
from llm_ensemble.preprocessing.chat import ChatTemplate, load_chat_template
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from openai_frontend.errors import unknown_model

FINGERPRINT_DIGITS = 10


@dataclass(frozen=True)
class ServedModel:
    """A model as OpenAI's API shows it.

    names: by which requests may name it, the first being its own. created: when it was built, in seconds
    since 1970. fingerprint: of the manifest, as `system_fingerprint`. chat: None without a chat template.
    """

    names: tuple[str, ...]
    created: int
    fingerprint: str
    limits: Limits
    tokenizer: Tokenizer
    chat: ChatTemplate | None

    @classmethod
    def read(cls, engine_dir: Path, name: str = "") -> ServedModel:
        """Read an engine directory. Raise EngineDirectoryError.

        name: instead of the checkpoint's; several, with commas between them, are names of the same model.
        """
        manifest, path = read_manifest(engine_dir), engine_dir / MANIFEST
        given = tuple(one.strip() for one in name.split(",") if one.strip())
        return cls(
            names=given or (manifest.model.name,),
            created=int(path.stat().st_mtime),
            fingerprint="fp_" + hashlib.sha256(path.read_bytes()).hexdigest()[:FINGERPRINT_DIGITS],
            limits=manifest.limits,
            tokenizer=load_tokenizer(engine_dir),
            chat=load_chat_template(engine_dir),
        )

    @property
    def has_chat_template(self) -> bool:
        """Whether it takes messages."""
        return self.chat is not None

    def check_name(self, name: str) -> None:
        """Raise ApiError for a model that is not this one."""
        if name not in self.names:
            raise unknown_model(name, self.names)
