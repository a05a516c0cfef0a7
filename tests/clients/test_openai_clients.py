# SPDX-License-Identifier: Apache-2.0
"""Clients for OpenAI's API that are not OpenAI's, unmodified: make clients-test; see docs/clients.md."""

import json
import os
import shutil

import pytest

from tests.clients.conftest import TOKENS
from tests.clients.running import HERE, OPENAI_CLIENTS, answers, output
from tests.openai.frontend import MESSAGES, MODEL, PROMPT

CONTENT = MESSAGES[0]["content"]
NODE_PACKAGES = OPENAI_CLIENTS / "node"
LLM_MODELS = """
- {{model_id: ours, model_name: {model}, api_base: "{url}"}}
- {{model_id: ours-text, model_name: {model}, api_base: "{url}", completion: true}}
"""


@pytest.fixture
def asked(url):
    """What each script takes."""
    return url, MODEL, PROMPT, CONTENT


@pytest.fixture
def chat_tokens(ensemble):
    return ensemble.generate(messages=MESSAGES, max_tokens=TOKENS).num_output_tokens


def test_langchain(asked, ensemble, text, chat_text, second_chat_text, chat_tokens):
    conversation = [
        {"role": "system", "content": "Be brief."},
        *MESSAGES,
        {"role": "assistant", "content": "Click."},
        {"role": "user", "content": "Where?"},
    ]
    assert answers("ask_langchain.py", *asked, of=OPENAI_CLIENTS) == {
        "chat": [chat_text] * 4,
        "chat async": [chat_text] * 3,
        "usage": [chat_tokens] * 2,
        "finish": "length",
        "conversation": ensemble.generate(messages=conversation, max_tokens=TOKENS).text,
        "history": second_chat_text,
        "scored": chat_text,
        "text": [text] * 4,
        "text async": [text] * 2,
        "structured": ["sure"],
        "refused": "tools",
    }


def test_llama_index_openai_like(asked, text, chat_text, second_chat_text):
    assert answers("ask_llama_index_openai.py", *asked) == {
        "chat": [chat_text] * 3,
        "history": second_chat_text,
        "chat async": [chat_text] * 2,
        "text": [text] * 2,
        "text async": [text] * 2,
    }


def test_litellm_openai(asked, text, chat_text, second_chat_text, chat_tokens):
    assert answers("ask_litellm_openai.py", *asked) == {
        "chat": [chat_text] * 2,
        "chat async": [chat_text] * 2,
        "history": second_chat_text,
        "usage": [chat_tokens] * 2,
        "text": [text] * 2,
        "text async": [text] * 2,
        "refused": "BadRequestError 400",
        "no such model": "NotFoundError 404",
    }


@pytest.mark.skipif(not shutil.which("node"), reason="no node (Debian: apt install nodejs npm)")
def test_vercels_ai_sdk(asked, ensemble, chat_text, second_chat_text, chat_tokens):
    """Its completion model makes one text of the roles and messages, and ends at the user's next turn."""
    if not (NODE_PACKAGES / "node_modules").exists():
        pytest.skip("no npm when the packages were installed: apt install npm, rm -r .venv-clients-openai")
    command = ["node", "--input-type=module", "-", *asked]
    script = (HERE / "ask_ai_sdk.mjs").read_text()
    told = json.loads(output(command, cwd=NODE_PACKAGES, input=script))
    text = ensemble.generate(f"user:\n{PROMPT}\n\nassistant:\n", max_tokens=TOKENS, stop_words=["\nuser:"])
    assert told["chat"] == {"texts": [chat_text] * 2, "tokens": [chat_tokens] * 2, "reasons": ["length"] * 2}
    assert told["history"] == second_chat_text
    assert told["text"] == {
        "texts": [text.text] * 2,
        "tokens": [text.num_output_tokens] * 2,
        "reasons": [*text.finish_reasons] * 2,
    }
    assert told["refused"] == [True, 400, False, "temperature: got -1, must be at least 0 and at most 100"]
    assert told["no such model"] == [True, 404, False, "model: there is no 'gpt-x' here; served is demo"]


class TestLlm:
    """Simon Willison's command."""

    @pytest.fixture
    def llm(self, url, tmp_path):
        (tmp_path / "extra-openai-models.yaml").write_text(LLM_MODELS.format(model=MODEL, url=url))
        environ = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
        limits = ["-o", "temperature", "0", "-o", "max_tokens", str(TOKENS)]

        def llm(*arguments, **options):
            command = [OPENAI_CLIENTS / "bin/llm", *arguments]
            return output(command if "logs" in arguments else command + limits, env=environ, **options)

        return llm

    @pytest.mark.parametrize("options", [[], ["--no-stream"]], ids=str)
    def test_prompt(self, llm, text, chat_text, options):
        assert llm("-m", "ours", *options, CONTENT) == f"{chat_text}\n"
        assert llm("-m", "ours-text", *options, PROMPT) == f"{text}\n"

    def test_async(self, llm, chat_text):
        assert llm("-m", "ours", "--async", CONTENT) == f"{chat_text}\n"

    def test_its_log_has_the_usage(self, llm, chat_text, chat_tokens):
        llm("-m", "ours", CONTENT)
        (logged,) = json.loads(llm("logs", "--json"))
        assert (logged["response"], logged["output_tokens"]) == (chat_text, chat_tokens)

    def test_chat(self, llm, chat_text, second_chat_text):
        told = llm("chat", "-m", "ours", input=f"{CONTENT}\nWhere?\nexit\n")
        assert told.endswith(f"> {chat_text}\n> {second_chat_text}\n> ")
