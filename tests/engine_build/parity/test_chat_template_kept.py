# SPDX-License-Identifier: Apache-2.0
"""Wherever a checkpoint has its chat template, the engine directory's tokenizer/ has it too."""

import json
import shutil

import pytest

from llm_ensemble.preprocessing.chat import load_chat_template
from tests.build_environment import run_in_build_environment

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}日本\r\n"
)
NAMED = [{"name": "tool_use", "template": "for tools"}, {"name": "default", "template": TEMPLATE}]
CHAT = [{"role": "user", "content": "Hello"}]
# Writes each checkpoint's tokenizer as a build does, and what transformers renders with the checkpoint's own.
WRITE = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from build_scripts.checkpoint import read_checkpoint
from build_scripts.fetch import fetch
from build_scripts.tokenizer import write_tokenizer
chat, prompts = json.loads(sys.argv[1]), {}
for folder in map(Path, sys.argv[2:]):
    write_tokenizer(read_checkpoint(fetch(str(folder))), folder / "engine/tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompts[folder.name] = prompt
print(json.dumps(prompts))
"""


def in_a_file(folder):
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")


def among_named_files(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool_use.jinja").write_text("for tools")
    in_a_file(folder)


def in_the_configuration(folder):
    change_config(folder, chat_template=TEMPLATE)


def named_in_the_configuration(folder):
    change_config(folder, chat_template=NAMED)


def with_tokens_in_a_map_of_their_own(folder):
    """As older checkpoints have them."""
    change_config(folder, chat_template=TEMPLATE, bos_token=None, eos_token=None)
    tokens = {"bos_token": {"content": "</s>", "lstrip": False, "rstrip": False}, "eos_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))


def with_tokens_that_only_the_class_knows(folder):
    in_the_configuration(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_bytes())
    path.write_text(
        json.dumps({name: value for name, value in config.items() if not name.endswith("s_token")})
    )


def change_config(folder, **changes):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


PLACES = {
    place.__name__: place
    for place in (
        in_a_file,
        among_named_files,
        in_the_configuration,
        named_in_the_configuration,
        with_tokens_in_a_map_of_their_own,
        with_tokens_that_only_the_class_knows,
    )
}


@pytest.fixture(scope="module")
def written(checkpoints, tmp_path_factory):
    """Each place's checkpoint with its tokenizer written, and transformers' prompts."""
    root = tmp_path_factory.mktemp("places")
    for name, put in PLACES.items():
        put(shutil.copytree(checkpoints / "llama", root / name))
    done = run_in_build_environment("-c", WRITE, json.dumps(CHAT), *(root / name for name in PLACES))
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


@pytest.mark.parametrize("place", PLACES)
def test_an_engine_directory_has_the_template_and_its_tokens(written, place):
    root, prompts = written
    prompt = load_chat_template(root / place / "engine").render(json.dumps(CHAT))
    assert prompt == prompts[place]
    assert prompt == ("</s>[user] Hello<unk>日本" if "map" in place else "<s>[user] Hello</s>日本")
