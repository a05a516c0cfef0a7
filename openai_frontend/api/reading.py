# SPDX-License-Identifier: Apache-2.0
"""Reading of a request's body; what is wrong with it as OpenAI's error."""

from __future__ import annotations

import difflib
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from openai_frontend.api.field_types import shown
from openai_frontend.errors import ApiError, refusal

# Names of other APIs, and what each is here.
ELSEWHERE = {
    "text_input": "prompt",
    "input_ids": "prompt",
    "stop_words": "stop",
    "num_return_sequences": "n",
    "return_log_probs": "logprobs",
    "random_seed": "seed",
    "min_length": "min_tokens",
    "stop_token_ids": "end_id",
    "use_beam_search": "beam_width",
    "max_output_tokens": "max_completion_tokens",
    "max_new_tokens": "max_tokens",
}
LONGEST_NAME = 64


class Body(BaseModel):
    """The base of all bodies: JSON's own types, and no field that is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


BodyType = TypeVar("BodyType", bound=Body)


async def read_body(request: Request, body: type[BodyType]) -> BodyType:
    """Return a request's body. Raise ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        got = f"got {kind[:100]!r}" if kind else "none was sent"
        raise ApiError(415, f"the content-type must be application/json; {got}")
    try:
        return body.model_validate_json(await request.body())
    except ValidationError as error:
        raise _as_api_error(error.errors(include_url=False)[0], body) from None


def _as_api_error(error: ErrorDetails, body: type[Body]) -> ApiError:
    """Return the first thing that is wrong; others show when that is right."""
    kind, place = error["type"], ".".join(map(str, error["loc"]))
    if kind == "json_invalid":
        return ApiError(400, f"the body is not JSON: {error['ctx']['error']}")
    if kind == "extra_forbidden":
        return _unknown(place, body)
    if kind == "missing":
        return refusal(place, "missing; it must be sent")
    if kind == "value_error":
        return refusal(place, str(error["ctx"]["error"]))
    problem = error["msg"].replace("Input should be", "must be")
    if not place:
        return ApiError(400, "the body must be an object")
    return refusal(place, f"got {shown(error['input'])}, {problem}")


def _unknown(name: str, body: type[Body]) -> ApiError:
    known = [*body.model_fields]
    instead = ELSEWHERE.get(name)
    near = [instead] if instead in known else difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
    near += [one for one in known if len(name) > 2 and one.startswith(name)]
    advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
    return refusal(_in_a_line(name), f"unknown field; {advice}")


def _in_a_line(name: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in name[:LONGEST_NAME])
    return (line or '""') + ("..." if len(name) > LONGEST_NAME else "")
