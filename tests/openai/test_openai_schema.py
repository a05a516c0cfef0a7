# SPDX-License-Identifier: Apache-2.0
"""The description of the API: it holds for what is asked and answered."""

import pytest

from tests.openai.frontend import MESSAGES, MODEL, PROMPT

ROUTES = {
    "/v1/chat/completions": {"model": MODEL, "messages": MESSAGES, "logprobs": True, "max_tokens": 3},
    "/v1/completions": {"model": MODEL, "prompt": PROMPT, "logprobs": 0, "max_tokens": 3},
    "/v1/models": None,
    "/v1/models/{name}": None,
    "/tokenize": {"prompt": PROMPT, "return_token_strs": True},
    "/detokenize": {"tokens": [5, 6]},
    "/version": None,
    "/status": None,
    "/health": None,
}
KINDS = {
    "string": str,
    "integer": int,
    "number": int | float,
    "array": list,
    "object": dict,
    "boolean": bool,
    "null": None,
}


@pytest.fixture(scope="module")
def schema(frontend):
    return frontend.send("/openapi.json").content


def fits(value, wanted, schema):
    """Return whether a value fits a JSON schema, as far as this API's schemas go."""
    if "$ref" in wanted:
        return fits(value, schema["components"]["schemas"][wanted["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in wanted:
        return any(fits(value, one, schema) for one in wanted["anyOf"])
    if "const" in wanted or "enum" in wanted:
        return value in wanted.get("enum", [wanted.get("const")])
    kinds = wanted.get("type", [*KINDS])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(value is None if kind == "null" else isinstance(value, KINDS[kind]) for kind in kinds):
        return False
    if isinstance(value, list):
        return all(fits(one, wanted.get("items", {}), schema) for one in value)
    if isinstance(value, dict) and "properties" in wanted:
        known = wanted["properties"]
        complete = set(wanted.get("required", ())) <= value.keys() <= known.keys()
        return complete and all(fits(one, known[name], schema) for name, one in value.items())
    return True


def test_every_route_is_described(schema):
    assert schema["paths"].keys() == ROUTES.keys()
    answers = [answer for path in schema["paths"].values() for route in path.values() for answer in [route]]
    assert not any("422" in route["responses"] for route in answers)


@pytest.mark.parametrize("path", ROUTES)
def test_answers_fit(frontend, schema, path):
    route = schema["paths"][path]["get" if ROUTES[path] is None else "post"]
    body = ROUTES[path]
    if body is not None:
        wanted = route["requestBody"]["content"]["application/json"]["schema"]
        assert fits(body, wanted, schema)
        assert not fits({**body, "unknown": 1}, wanted, schema)
    answer = frontend.send(path.replace("{name}", MODEL), body)
    assert answer.status == 200
    if answer.body:
        wanted = route["responses"]["200"]["content"]["application/json"]["schema"]
        assert fits(answer.content, wanted, schema), answer.content


@pytest.mark.parametrize("path", [path for path, body in ROUTES.items() if body])
def test_errors_fit(frontend, schema, path):
    responses = schema["paths"][path]["post"]["responses"]
    for status, answer in {
        "400": frontend.send(path, {"unknown": 1}),
        "404": frontend.send(path, {**ROUTES[path], "model": "other"}),
        "415": frontend.send(path, ROUTES[path], **{"content-type": "text/plain"}),
    }.items():
        assert answer.status == int(status)
        assert fits(answer.content, responses[status]["content"]["application/json"]["schema"], schema)


def test_the_page_of_the_description_is_there(frontend):
    assert b"/openapi.json" in frontend.send("/docs").body


@pytest.mark.parametrize("call", ["ChatBody", "CompletionBody"])
def test_a_range_is_the_contracts(schema, call):
    fields = schema["components"]["schemas"][call]["properties"]
    assert (fields["temperature"]["minimum"], fields["temperature"]["maximum"]) == (0, 100)
    assert fields["repetition_penalty"]["exclusiveMinimum"] == 0
    assert fields["max_tokens"]["minimum"] == 1
    assert fields["logit_bias"]["additionalProperties"] == {"type": "number", "minimum": -100, "maximum": 100}
