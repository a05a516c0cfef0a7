# SPDX-License-Identifier: Apache-2.0
"""Speculative decoding: tokens are proposed cheaply, and the model checks several in one step.

They come from a smaller model (DRAFT_ENGINE_DIR), or from earlier places of the text itself (PROMPT_LOOKUP).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from llm_ensemble.engines.features import Lacks
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import ENGINE, TOKENIZER, Manifest, read_manifest
from llm_ensemble.settings import EngineSettings, Values, setting, switch

log = logging.getLogger(__name__)

# Proposed in a step for each sequence. With more, a step costs more and the last ones are seldom right.
DRAFT_TOKENS = 4
# Of a text's end, how many tokens are looked for earlier in it, the longest first.
NGRAM = 3

FOLDER = Values("a path", lambda text: Path(text) if text else None)
# The advice after so many proposed tokens, if fewer than this part of them is accepted; docs/speculative.md
# has the measurements.
ADVICE_TOKENS = 20_000
PAYS_FROM = 0.4


@dataclass(frozen=True, kw_only=True)
class DraftSettings(EngineSettings):
    """The settings of engine kinds that can decode speculatively."""

    draft_engine_dir: Path | None = setting(
        None,
        FOLDER,
        "The engine directory of a smaller model with the same tokenizer, which proposes tokens that the "
        "model checks several at a time: speculative decoding (docs/speculative.md).",
    )
    prompt_lookup: bool = setting(
        False,
        switch(),
        "Speculative decoding without a smaller model: what followed the text's last tokens earlier in it is "
        "proposed.",
    )

    @property
    def is_speculative(self) -> bool:
        """Whether tokens are proposed."""
        return self.prompt_lookup or self.draft_engine_dir is not None


def lacking(names: tuple[str, ...], engine: str) -> Lacks:
    """Return the refusals of features that an engine lacks with speculative decoding alone."""
    reason = f"the {engine} engine has none with DRAFT_ENGINE_DIR or PROMPT_LOOKUP; leave it out"
    return dict.fromkeys(names, reason)


def check_draft(
    engine_dir: Path, manifest: Manifest, settings: DraftSettings, files: tuple[str, ...]
) -> None:
    """Check the settings, and the draft's directory if there is one.

    files: what the kind has in engine/. Raise SettingError or EngineDirectoryError, one line.
    """
    draft_dir = settings.draft_engine_dir
    if draft_dir is None:
        return
    if settings.prompt_lookup:
        raise SettingError("DRAFT_ENGINE_DIR and PROMPT_LOOKUP=1 exclude each other: unset one")
    try:
        draft = read_manifest(draft_dir)
    except EngineDirectoryError as error:
        raise EngineDirectoryError(f"DRAFT_ENGINE_DIR: {error}") from error
    problem = _problem(engine_dir, manifest, draft_dir, draft, files)
    if problem:
        raise EngineDirectoryError(f"DRAFT_ENGINE_DIR={draft_dir} {problem}")


def _problem(
    engine_dir: Path, manifest: Manifest, draft_dir: Path, draft: Manifest, files: tuple[str, ...]
) -> str:
    if draft_dir.resolve() == engine_dir.resolve():
        return "is the engine directory itself: take that of a smaller model, or unset it"
    if (draft.engine, draft.backend) != (manifest.engine, manifest.backend):
        ours, theirs = (" ".join(filter(None, (one.engine, one.backend))) for one in (manifest, draft))
        return f"is for {theirs}, the model for {ours}: build it with the same --engine"
    missing = [name for name in files if not any((draft_dir / ENGINE).glob(name))]
    if missing:
        return f"has no {ENGINE}/{missing[0]}: build it again"
    longest = manifest.limits.max_seq_len
    if draft.limits.max_seq_len < longest:
        return (
            f"holds {draft.limits.max_seq_len} tokens, the model {longest}: "
            f"build one of the two with the other's --max-seq-len"
        )
    if not _same_tokens(engine_dir, manifest, draft_dir, draft):
        return "has another tokenizer than the model: take a smaller model of the same family"
    return ""


def _same_tokens(engine_dir: Path, manifest: Manifest, draft_dir: Path, draft: Manifest) -> bool:
    """Return whether ids mean the same; models of one family may differ in the rest of the folder."""
    if draft.tokenizer_sha256 == manifest.tokenizer_sha256:
        return True
    return _tokens(engine_dir) == _tokens(draft_dir)


def _tokens(engine_dir: Path) -> dict[str, int]:
    """Return the ids of a tokenizer, by their text; none that is equal to another's, if it has no list."""
    path = engine_dir / TOKENIZER / "tokenizer.json"
    try:
        tokenizer = json.loads(path.read_bytes())
        vocabulary = tokenizer["model"]["vocab"]
        if not isinstance(vocabulary, dict):  # of pairs, where an id is a place in the list
            vocabulary = {token: place for place, (token, _) in enumerate(vocabulary)}
        added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", ())}
        return vocabulary | added
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineDirectoryError(f"{path} cannot be read ({error}): build the engine again") from error


class DraftTokens:
    """Counts proposed and accepted tokens, and says once in the log if they do not pay.

    Written by one thread, read by any.
    """

    def __init__(self, settings: DraftSettings) -> None:
        self.proposed = 0
        self.accepted = 0
        self._is_speculative = settings.is_speculative
        self._where = "PROMPT_LOOKUP" if settings.prompt_lookup else "DRAFT_ENGINE_DIR"
        self._since = (0, 0)
        self._advised = False

    @property
    def totals(self) -> tuple[int | None, int]:
        """Proposed and accepted tokens, as EngineStats has them."""
        return (self.proposed if self._is_speculative else None), self.accepted

    def count(self, proposed: int, accepted: int) -> None:
        """Count the tokens of a step."""
        self.proposed += proposed
        self.accepted += accepted
        if self.proposed - self._since[0] >= ADVICE_TOKENS:
            self._advise(self.proposed - self._since[0], self.accepted - self._since[1])
            self._since = (self.proposed, self.accepted)

    def _advise(self, proposed: int, accepted: int) -> None:
        if self._advised or accepted >= PAYS_FROM * proposed:
            return
        self._advised = True
        log.warning(
            "of the last %s proposed tokens %.0f %% were accepted: speculative decoding hardly pays with "
            "these requests; unset %s, or see docs/speculative.md",
            proposed,
            100 * accepted / proposed,
            self._where,
        )
