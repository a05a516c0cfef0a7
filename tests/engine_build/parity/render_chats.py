# SPDX-License-Identifier: Apache-2.0
"""What transformers renders of templates and conversations; runs in the build environment.

    python render_chats.py FOLDER < JOB.json > ANSWERS.json

JOB: {template: {"source": ..., "chats": {chat: {"messages": [...], "options": {...}}}}}, the options being
apply_chat_template's. For each template FOLDER/TEMPLATE/tokenizer is what save_pretrained writes, and from
there it is loaded again. ANSWERS: {template: {chat: answer}}, an answer being {"text": ...}, {"refused": the
template's words} or {"not continued": ""}.
"""

import json
import sys
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import AddedToken, Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "eos_token": AddedToken("</s>", rstrip=True), "image_token": "<img>"}


def save(template: str, folder: Path) -> None:
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<img>": 2, "a": 3}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def answer(tokenizer: PreTrainedTokenizerFast, chat: dict[str, Any]) -> dict[str, str]:
    try:
        text = tokenizer.apply_chat_template(chat["messages"], tokenize=False, **chat["options"])
    except TemplateError as error:
        return {"refused": str(error)}
    except ValueError:
        return {"not continued": ""}
    return {"text": text}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    answers = {}
    for name, template in job.items():
        folder = Path(sys.argv[1]) / name / "tokenizer"
        save(template["source"], folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        answers[name] = {chat: answer(tokenizer, asked) for chat, asked in template["chats"].items()}
    json.dump(answers, sys.stdout)
