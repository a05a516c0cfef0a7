# SPDX-License-Identifier: Apache-2.0
"""Write tokenizer/ of an engine directory, whose tokenizer.json alone must give transformers' token ids.

Serving reads tokenizer.json with the `tokenizers` library and never imports transformers, so the two must
agree here, on text of many kinds, special tokens included (OPT's </s>, Llama's <s>, Gemma's <bos>, none for
Qwen).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_scripts.checkpoint import Checkpoint
from build_scripts.errors import BuildError
from build_scripts.remote_code import remove_remote_code

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SAMPLES = (
    "The quick brown fox jumps over the lazy dog.",
    "hello",
    " leading,  double   spaces and a trailing one ",
    "lines\nand\n\nparagraphs\r\n\twith tabs",
    "日本語の文章と中文,한국어도",
    "emoji 😀 👩‍👩‍👧 🇩🇪, combining e\u0301, right to left: שלום مرحبا",
    "def f(x): return x**2  # 3.14159, 1234567890",
    "special </s> <s> <bos> <pad> in the text",
    "",
)


@dataclasses.dataclass(frozen=True)
class TokenizerFacts:
    """Facts for the later stages; an id is None if the tokenizer has no such token."""

    end_id: int | None
    pad_id: int | None
    sample_ids: list[int]  # of an ordinary text, for comparing logits


def write_tokenizer(checkpoint: Checkpoint, into: Path) -> TokenizerFacts:
    """Write what AutoTokenizer loads, tokenizer.json and chat template included, to `into`, and check it.

    Raise BuildError if there is no usable tokenizer, or if both libraries cannot be made to agree.
    """
    tokenizer = _load(checkpoint.folder, checkpoint.trust_remote_code)
    tokenizer.save_pretrained(into)
    remove_remote_code(into)
    write_names_of_4(into / TOKENIZER_CONFIG)
    if not (into / TOKENIZER_JSON).is_file():
        raise BuildError(
            f"{type(tokenizer).__name__} cannot be written as {TOKENIZER_JSON}, which serving needs"
        )
    wanted = {text: tokenizer(text).input_ids for text in SAMPLES}
    _settle(into / TOKENIZER_JSON, wanted)
    _check_reload(into, wanted)
    return TokenizerFacts(
        tokenizer.eos_token_id, tokenizer.pad_token_id, wanted[SAMPLES[0]] + wanted[SAMPLES[4]]
    )


def write_names_of_4(path: Path) -> None:
    """Rename the fields of tokenizer_config.json that transformers 4 does not know; 5 reads both names.

    Clients, as genai-perf, load the folder with their own transformers to count tokens.
    """
    config = json.loads(path.read_text())
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):  # 4 takes a dictionary alone
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def match_special_tokens(tokenizer: Tokenizer, wanted: dict[str, list[int]]) -> None:
    """Make `tokenizer.encode(text).ids` equal `wanted[text]` for all texts, by a post-processor if need be.

    Raise BuildError, naming the text, if they differ by more than the same special tokens before and
    after.
    """
    if _difference(tokenizer, wanted) is None:
        return
    before, after = _surroundings(tokenizer, wanted)
    tokenizer.post_processor = _template(tokenizer, before, after)
    text = _difference(tokenizer, wanted)
    if text is not None:
        raise BuildError(
            f"{TOKENIZER_JSON} gives {text!r} the ids {tokenizer.encode(text).ids[:8]}, transformers gives "
            f"{wanted[text][:8]}: this tokenizer cannot be served"
        )


def _load(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BuildError(f"{folder} has no tokenizer that transformers can load: {reason}") from error


def _settle(path: Path, wanted: dict[str, list[int]]) -> None:
    """Match the special tokens, and drop truncation and padding: files from training may have them set."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    match_special_tokens(tokenizer, wanted)
    tokenizer.save(str(path))


def _check_reload(folder: Path, wanted: dict[str, list[int]]) -> None:
    """Raise BuildError unless transformers and tokenizers read the written folder alike.

    Remote code is not trusted here, since serving runs none.
    """
    from tokenizers import Tokenizer

    again = _load(folder, trust_remote_code=False)
    plain = Tokenizer.from_file(str(folder / TOKENIZER_JSON))
    for text, ids in wanted.items():
        if not again(text).input_ids == plain.encode(text).ids == ids:
            raise BuildError(
                f"the written tokenizer reads {text!r} in another way: this tokenizer cannot be served"
            )


def _difference(tokenizer: Tokenizer, wanted: dict[str, list[int]]) -> str | None:
    """Return the first text whose ids are not the wanted ones."""
    return next((text for text, ids in wanted.items() if tokenizer.encode(text).ids != ids), None)


def _surroundings(tokenizer: Tokenizer, wanted: dict[str, list[int]]) -> tuple[list[int], list[int]]:
    """Return the ids that transformers adds before and after the longest text; empty if it has other ids."""
    text = max(wanted, key=len)
    ids, own = wanted[text], tokenizer.encode(text, add_special_tokens=False).ids
    for start in range(len(ids) - len(own) + 1):
        if ids[start : start + len(own)] == own:
            return ids[:start], ids[start + len(own) :]
    return [], []


def _template(tokenizer: Tokenizer, before: list[int], after: list[int]) -> Any:
    from tokenizers.processors import TemplateProcessing

    tokens = {tokenizer.id_to_token(number): number for number in before + after}
    first, last = ([tokenizer.id_to_token(number) for number in ids] for ids in (before, after))
    return TemplateProcessing(single=[*first, "$A", *last], special_tokens=list(tokens.items()))
