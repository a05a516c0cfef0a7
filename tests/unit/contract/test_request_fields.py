# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble.contract.request_fields import ALIASES, IGNORED, TASK_ID, RequestFields, request_fields
from llm_ensemble.errors import RequestError


def test_every_input_of_the_contract_is_a_field_an_alias_or_ignored():
    assert {*RequestFields.__struct_fields__, *ALIASES, *IGNORED, TASK_ID} - {"sent_as"} == set(FIELDS)


def min_tokens(**values):
    """The name and value by which min_tokens is known."""
    fields = request_fields(values)
    return fields.name_of("min_tokens"), fields.min_tokens


def test_a_field_with_two_names_may_come_by_either_or_by_both_if_they_agree():
    assert min_tokens(min_tokens=3) == ("min_tokens", 3)
    assert min_tokens(min_length=3) == ("min_length", 3)
    assert min_tokens(min_length=3, min_tokens=3) == ("min_tokens", 3)
    assert min_tokens() == ("min_tokens", 0)
    with pytest.raises(RequestError, match="^min_length: got 4, but min_tokens is 3; they are one field"):
        min_tokens(min_length=4, min_tokens=3)


def test_an_ignored_field_has_no_effect():
    assert request_fields({"min_tokens": 3, "pad_id": 5}) == request_fields({"min_tokens": 3})


def test_nvidias_number_of_an_adapter_is_its_name_and_0_is_none():
    fields = request_fields({"lora_task_id": 7})
    assert (fields.lora_name, fields.name_of("lora_name")) == ("7", "lora_task_id")
    assert request_fields({"lora_task_id": 7, "lora_name": "7"}).lora_name == "7"
    fields = request_fields({"lora_task_id": 0, "lora_name": "red"})
    assert (fields.lora_name, fields.name_of("lora_name")) == ("red", "lora_name")
    with pytest.raises(RequestError, match="lora_task_id: got 7, but lora_name is another adapter"):
        request_fields({"lora_task_id": 7, "lora_name": "red"})
