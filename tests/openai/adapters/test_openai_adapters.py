# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters through tritonserver: chosen by lora_name and lora_task_id, and as models of OpenAI's API."""

import pytest

from llm_ensemble_client import InvalidRequest
from tests.lora import PROMPT
from tests.openai.frontend import MODEL, frontend_of


@pytest.fixture(scope="module")
def adapted(chat_engine, lora, tmp_path_factory):
    """A frontend and its server, both with the adapters; of the four, three are in memory."""
    folder = tmp_path_factory.mktemp("adapted")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LORA_DIR", str(lora.adapters))
        monkeypatch.setenv("MAX_LORAS", "3")
        with frontend_of(chat_engine, folder) as frontend:
            monkeypatch.undo()  # other servers start while this one runs
            yield frontend


@pytest.fixture(scope="module")
def texts(adapted, lora):
    """What transformers and PEFT generate with each adapter, as text."""
    return {name: adapted.tapped.tokenizer.decode(lora.ids[name]) for name in lora.names}


def test_the_adapters_are_listed_as_models_whose_parent_is_the_model(adapted, lora):
    models = adapted.openai().models.list().data
    assert [model.id for model in models] == [MODEL, *lora.names[1:]]
    assert [(model.root, model.parent) for model in models] == [(MODEL, None)] + [(MODEL, MODEL)] * 4
    assert adapted.send("/v1/models/green").content["parent"] == MODEL


def test_a_models_name_chooses_the_adapter(adapted, lora, texts):
    client = adapted.openai()
    for name in lora.names:
        answer = client.completions.create(
            model=name or MODEL, prompt=PROMPT, max_tokens=20, temperature=0, extra_body={"ignore_eos": True}
        )
        assert (answer.model, answer.choices[0].text) == (name or MODEL, texts[name])


def test_streams_of_chats_with_several_adapters_at_once(adapted, lora):
    asked = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
    alone = {name: adapted.chat(model=name or MODEL, **asked).content["choices"] for name in lora.names}
    assert len({choices[0]["message"]["content"] for choices in alone.values()}) > 1
    for name in lora.names:
        events = adapted.chat(model=name or MODEL, stream=True, **asked).events
        pieces = [event["choices"][0]["delta"].get("content") or "" for event in events if event]
        assert "".join(pieces) == alone[name][0]["message"]["content"]


def test_a_model_that_is_neither_is_unknown(adapted):
    answer = adapted.complete(model="gren")
    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert "served is demo, 7, blue, green, red" in answer.error["message"]


def test_the_contract_has_an_adapter_by_name_or_by_nvidias_number(adapted, texts):
    ensemble = adapted.ensemble()
    asked = {"input_ids": PROMPT, "max_tokens": 20, "ignore_eos": True}
    assert ensemble.generate(**asked, lora_name="red").text == texts["red"]
    assert ensemble.generate(**asked, lora_task_id=7).text == texts["7"]
    assert ensemble.generate(**asked, lora_task_id=0).text == texts[""]
    assert ensemble.generate(**asked, lora_task_id=7, lora_name="7").text == texts["7"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lora_name": "gren"}, "lora_name: there is no 'gren'; did you mean 'green'?"),
        ({"lora_task_id": 8}, "lora_task_id: there is no '8'"),
        ({"lora_task_id": 7, "lora_name": "red"}, "lora_task_id: got 7, but lora_name is another adapter"),
    ],
)
def test_an_unknown_adapter_is_refused_by_the_field_that_named_it(adapted, fields, message):
    with pytest.raises(InvalidRequest) as refused:
        adapted.ensemble().generate("x", max_tokens=1, **fields)
    assert message in str(refused.value)


def test_without_adapters_none_is_a_model(frontend):
    assert [model.id for model in frontend.openai().models.list().data] == [MODEL]
    with pytest.raises(InvalidRequest, match="lora_name: no adapters are served here"):
        frontend.ensemble().generate("x", max_tokens=1, lora_name="red")
