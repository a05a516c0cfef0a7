# SPDX-License-Identifier: Apache-2.0
"""/tokenize and /detokenize: what is served; and what else the frontend tells."""

import importlib.metadata

import pytest

from tests.openai.frontend import MESSAGES, MODEL, PROMPT, TEMPLATE, UNICODE_PROMPT

PROMPTS = [PROMPT, UNICODE_PROMPT, "</s>" + PROMPT, "  two  spaces ", "x"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("special", [None, True, False])
def test_a_prompts_tokens_are_those_that_are_served(frontend, ensemble, prompt, special):
    answer = frontend.send("/tokenize", {"prompt": prompt, "add_special_tokens": special}).content
    served = ensemble.generate(prompt, max_tokens=1, add_special_tokens=special)
    assert answer["count"] == len(answer["tokens"]) == served.num_input_tokens
    assert answer["max_model_len"] == 512
    assert answer["token_strs"] is None


def test_messages_are_tokenized_as_they_are_served(frontend, ensemble):
    given = [{"role": "developer", "content": "Be brief."}, *MESSAGES]
    answer = frontend.send("/tokenize", {"model": MODEL, "messages": given}).content
    prompt = "system: Be brief.\n" + f"user: {MESSAGES[0]['content']}\n" + "assistant:"
    assert frontend.send("/detokenize", {"tokens": answer["tokens"]}).content == {"prompt": prompt}
    chat = frontend.chat(messages=given, max_tokens=1)
    assert answer["count"] == chat.content["usage"]["prompt_tokens"]
    without = frontend.send("/tokenize", {"messages": given, "add_generation_prompt": False}).content
    assert without["tokens"] == answer["tokens"][: without["count"]]
    assert TEMPLATE.count("assistant:") == 1
    assert without["count"] < answer["count"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_there_and_back(frontend, prompt):
    asked = {"model": MODEL, "prompt": prompt, "add_special_tokens": False, "return_token_strs": True}
    answer = frontend.send("/tokenize", asked).content
    assert frontend.send("/detokenize", {"tokens": answer["tokens"]}).content == {"prompt": prompt}
    vocabulary = frontend.tapped.tokenizer.get_vocab()
    assert [vocabulary[token] for token in answer["token_strs"]] == answer["tokens"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": ""}, "prompt"),
        ("/tokenize", {"prompt": "x", "messages": MESSAGES}, "messages"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"prompt": "x", "continue_final_message": True}, "continue_final_message"),
        ("/tokenize", {"promt": "x"}, "promt"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {"tokens": ["x"]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
    ],
    ids=str,
)
def test_what_is_refused(frontend, path, body, param):
    answer = frontend.send(path, body)
    assert answer.status == 400
    assert answer.error["param"].split(".")[0] == param


def test_another_model_is_not_found(frontend):
    for path, body in (("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [5]})):
        assert frontend.send(path, {**body, "model": "other"}).status == 404


def test_version_and_health(frontend):
    assert frontend.send("/version").content == {"version": importlib.metadata.version("llm-ensemble")}
    assert frontend.send("/health").status == 200
