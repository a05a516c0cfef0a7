# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a folder: its end token, which is all that is asked of it."""

import json
from pathlib import Path
from typing import NamedTuple


class Tokenizer(NamedTuple):
    eos_token_id: int | None


def load_tokenizer(folder) -> Tokenizer | None:
    if folder is None:
        return None
    folder = Path(folder)
    end = json.loads((folder / "tokenizer_config.json").read_bytes()).get("eos_token")
    text = end["content"] if isinstance(end, dict) else end
    content = json.loads((folder / "tokenizer.json").read_bytes())
    vocabulary = {one["content"]: one["id"] for one in content["added_tokens"]} | content["model"]["vocab"]
    return Tokenizer(vocabulary.get(text))
