# SPDX-License-Identifier: Apache-2.0
"""Bodies that schemathesis makes of the API's own description, valid ones and others, and its checks."""

import collections
import dataclasses
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import requests
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from tests.openai_soak.drawing import drawn_of
from tests.openai_soak.sending import SECONDS, STATUSES, is_error_body

# What a body that fits cannot say: that a prompt is too long, or that fields do not go together.
CHECKS = (
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
)
AT_ONCE = 8
VOCABULARY = 4000  # the demo model has 4,096


@dataclasses.dataclass
class Seen:
    """What came of all bodies. refused: of those that fit the description, by how the message begins."""

    wrong: list = dataclasses.field(default_factory=list)
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    refused: collections.Counter = dataclasses.field(default_factory=collections.Counter)


def drawn(schema, number, model):
    """Return so many cases, always the same ones, of every route and both kinds."""
    operations = [found.ok() for found in schema.get_all_operations()]
    posts = [one for one in operations if one.method.upper() == "POST"]
    kinds = [*itertools.product(posts, GenerationMode)]
    return [case for one, mode in kinds for case in _of(one, mode, number // len(kinds), model)]


def _of(operation, mode, number, model):
    cases = drawn_of(operation.as_strategy(generation_mode=mode), number)
    for case in cases:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body = usable(case.body, model)
    return [(mode, case) for case in cases]


def usable(body, model):
    """Return a body that fits the description, without what only the model or another field refuses.

    That is another name, ids that it has not, keys of messages that its template does not read, options of
    what is not asked for; and 1.0 for 1, which JSON schema takes for an integer.
    """
    body = {**_whole(body), "model": model}
    for name in ("tools", "tool_choice"):  # which the model's template does not read
        body.pop(name, None)
    if body.get("messages"):
        body["messages"] = [
            {"role": one["role"], "content": one.get("content") or "Hello"} for one in body["messages"]
        ]
        body.pop("prompt", None)
    elif "messages" in body:
        body = {**body, "messages": None, "prompt": "Hello"}
    for name in ("prompt", "tokens"):
        if isinstance(body.get(name), list):
            body[name] = [_known(one) for one in body[name]]
    for option, switch in (("stream_options", "stream"), ("top_logprobs", "logprobs")):
        if body.get(option) is not None:
            body[switch] = True
    return body


def _known(value):
    if isinstance(value, list):
        return [*map(_known, value)]
    return value % VOCABULARY if isinstance(value, int) else value


def _whole(value):
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [*map(_whole, value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def ask(url, cases):
    """Send all; return what was seen."""
    seen, local = Seen(), threading.local()

    def once(pair):
        mode, case = pair
        if not hasattr(local, "session"):
            local.session = requests.Session()
        try:
            answer = case.call(base_url=url, session=local.session, timeout=SECONDS)
        except requests.RequestException as error:
            seen.wrong.append(f"{case.method} {case.path}: {error!r} {_shown(case)}")
            return
        seen.statuses[case.path, mode.value, answer.status_code] += 1
        seen.wrong.extend(_problems(case, answer))
        if mode is GenerationMode.POSITIVE and answer.status_code == 400:
            seen.refused[case.path, answer.json()["error"]["message"][:60]] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(once, cases))
    return seen


def _problems(case, answer):
    found = []
    if answer.status_code not in STATUSES:
        found.append(f"status {answer.status_code}: {answer.text[:200]}")
    elif answer.status_code >= 400 and not is_error_body(answer.content):
        found.append(f"{answer.status_code} with the body {answer.text[:200]}")
    try:
        case.validate_response(answer, checks=[*CHECKS])
    except FailureGroup as group:
        found += [f"{type(failure).__name__}: {failure}"[:300] for failure in group.exceptions]
    return [f"{case.method} {case.path}: {problem} {_shown(case)}" for problem in found]


def _shown(case):
    return json.dumps(case.body, default=repr)[:300]
