# SPDX-License-Identifier: Apache-2.0
"""What transformers renders of templates and conversations; runs in the build environment.

    python render_chats.py FOLDER < JOB.json > ANSWERS.json

JOB: {"templates": {name: source}, "conversations": {name: messages}}. For each template FOLDER/NAME/tokenizer
is what save_pretrained writes, and from there it is loaded again. ANSWERS: {template: {conversation: {"text":
...} or {"refused": ...}}}.
"""

import json
import sys
from pathlib import Path

from jinja2.exceptions import TemplateError
from tokenizers import AddedToken, Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "eos_token": AddedToken("</s>", rstrip=True), "image_token": "<img>"}


def save(template: str, folder: Path) -> None:
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<img>": 2, "a": 3}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def answer(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> dict[str, str]:
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        return {"refused": str(error)}
    return {"text": text}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    answers = {}
    for name, template in job["templates"].items():
        folder = Path(sys.argv[1]) / name / "tokenizer"
        save(template, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        answers[name] = {chat: answer(tokenizer, messages) for chat, messages in job["conversations"].items()}
    json.dump(answers, sys.stdout)
