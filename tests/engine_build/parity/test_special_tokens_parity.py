# SPDX-License-Identifier: Apache-2.0
"""Token ids are transformers' in every family, and a text that begins with BOS has no second one."""

import json
from pathlib import Path

import pytest

from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from llm_ensemble.preprocessing.special_tokens import PromptTokenizer, Special
from tests.build_environment import run_in_build_environment
from tests.engine_build.test_build_families import FAMILIES, FIRST_TOKEN

TEXTS = ["the quick brown fox", "hello", " leading space", "日本 😀", "\nlines\n", "in the middle {bos}fox"]
CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}[answer]"
MESSAGES = [{"role": "user", "content": "the lazy dog"}]
# Writes each checkpoint's tokenizer as a build does, and what transformers makes of texts with it, with and
# without special tokens, and of a chat, whose rendered text people also send as a prompt.
WRITE = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from build_scripts.checkpoint import read_checkpoint
from build_scripts.fetch import fetch
from build_scripts.tokenizer import write_tokenizer
job, answers = json.load(sys.stdin), {}
for family, texts in job["texts"].items():
    into = Path(sys.argv[2]) / family
    checkpoint = read_checkpoint(fetch(str(Path(sys.argv[1]) / family)))
    write_tokenizer(checkpoint, into / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder)
    chat = {"conversation": job["messages"], "chat_template": job["chat"]}
    answers[family] = {
        "with": [tokenizer(text).input_ids for text in texts],
        "without": [tokenizer(text, add_special_tokens=False).input_ids for text in texts],
        "rendered": tokenizer.apply_chat_template(**chat, tokenize=False),
        "chat": tokenizer.apply_chat_template(**chat, return_dict=False),
    }
json.dump(answers, sys.stdout)
"""


def texts_of(family):
    """Each text as it is, and after the token that the family's tokenizer puts before a text."""
    bos = FIRST_TOKEN.get(family, "<|endoftext|>")
    texts = [text.format(bos=bos) for text in TEXTS]
    return texts, [bos + text for text in texts]


@pytest.fixture(scope="module")
def written(checkpoints, tmp_path_factory):
    """Each family's tokenizer as a build writes it, and transformers' answers for its texts."""
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = {family: [text for some in texts_of(family) for text in some] for family in FAMILIES}
    job = json.dumps({"texts": texts, "messages": MESSAGES, "chat": CHAT})
    done = run_in_build_environment("-c", WRITE, checkpoints, folder, input=job)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def prompt_ids(folder: Path, texts, special):
    return PromptTokenizer(load_tokenizer(folder)).encode(texts, [special] * len(texts))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_s_ids_are_transformers_with_one_beginning(written, family):
    folder, answers = written
    plain, begun = texts_of(family)
    both, theirs = [*plain, *begun], answers[family]
    assert prompt_ids(folder / family, both, Special.ALL) == theirs["with"]
    assert prompt_ids(folder / family, both, Special.NONE) == theirs["without"]
    count = len(plain)
    once = prompt_ids(folder / family, both, Special.ONCE)
    assert once[:count] == theirs["with"][:count]
    # No family puts anything after a text, so a text that begins with BOS needs no special token at all.
    assert once[count:] == theirs["without"][count:]
    if family in FIRST_TOKEN:
        (bos,) = {ids[0] for ids in once}
        assert [ids.count(bos) for ids in once[count:]] == [1, 1, 1, 1, 1, 2]
        assert all(ids[:2] == [bos, bos] for ids in theirs["with"][count:])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rendered_chat_sent_as_text_has_the_ids_of_the_chat(written, family):
    folder, answers = written
    theirs = answers[family]
    assert prompt_ids(folder / family, [theirs["rendered"]], Special.ONCE) == [theirs["chat"]]
