# SPDX-License-Identifier: Apache-2.0
"""Bodies that no schema leads to: JSON that is hardly any, numbers and texts at every edge."""

import json

from hypothesis import strategies as st

from openai_frontend.api.chat import ChatBody
from openai_frontend.api.completions import CompletionBody
from tests.openai_soak.edges import NUMBERS, TEXTS
from tests.openai_soak.sending import Sent, request

MODEL = "demo"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
VALID = {
    CHAT: {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3},
    COMPLETIONS: {"model": MODEL, "prompt": "Hello", "max_tokens": 3},
    "/tokenize": {"model": MODEL, "prompt": "Hello"},
    "/detokenize": {"model": MODEL, "tokens": [5, 6]},
}
FIELDS = sorted({*ChatBody.model_fields, *CompletionBody.model_fields, "tokens", "return_token_strs"})
MILLION = 2**20
paths = st.sampled_from(sorted(VALID))
fields = st.sampled_from(FIELDS)
texts = st.one_of(
    st.sampled_from(TEXTS), st.text(max_size=20).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1])
)
numbers = st.one_of(st.sampled_from(NUMBERS), st.floats().map(repr), st.integers().map(str))
leaves = st.one_of(numbers, texts.map('"{}"'.format), st.sampled_from(["null", "true", "false"]))
keys = st.one_of(
    st.sampled_from(["role", "content", "type", "text", "name", "tool_calls", "image_url"]), texts
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(keys, inner), max_size=4).map(lambda pairs: _object(pairs)),
    ),
    max_leaves=8,
)
roles = st.sampled_from(
    ["user", "system", "assistant", "tool", "developer", "function", "", "\\ud800", "\\u0000"]
)
parts = st.one_of(
    texts.map('"{}"'.format), values, texts.map(lambda text: f'[{{"type":"text","text":"{text}"}}]')
)
messages = st.lists(st.tuples(roles, parts, st.lists(st.tuples(keys, values), max_size=2)), max_size=3)


def _object(pairs):
    return "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"


def body_with(path, *pairs):
    """Return a valid body as bytes with these members behind its own, as text that is taken as it is."""
    own = [(key, json.dumps(value)) for key, value in VALID[path].items() if key not in dict(pairs)]
    return _object([*own, *pairs]).encode("utf-8", "surrogatepass")


def one(name, path, body, **options):
    return Sent(name, (request(path, body, **options),))


@st.composite
def fields_with_any_value(draw):
    path = draw(paths)
    pairs = draw(st.lists(st.tuples(fields, values), min_size=1, max_size=3))
    return one("any value", path, body_with(path, *pairs))


@st.composite
def edges(draw):
    """A number or a text at an edge, at a place where one belongs."""
    path, text = draw(paths), draw(texts)
    pair = draw(
        st.one_of(
            st.tuples(fields, numbers),
            st.tuples(
                st.sampled_from(["prompt", "stop", "user", "model", "bad_words"]), st.just(f'"{text}"')
            ),
            st.tuples(st.sampled_from(["prompt", "stop", "bad_words"]), st.just(f'["{text}","a"]')),
            st.tuples(st.just("prompt"), numbers.map("[{}]".format)),
            st.tuples(texts, leaves),
        )
    )
    return one("edge", path, body_with(path, pair))


@st.composite
def odd_messages(draw):
    pairs = [[("role", f'"{role}"'), ("content", content), *more] for role, content, more in draw(messages)]
    path = draw(st.sampled_from([CHAT, "/tokenize"]))
    body = body_with(path, ("messages", "[" + ",".join(map(_object, pairs)) + "]"))
    return one("messages", path, body)


@st.composite
def deep(draw):
    """Brackets within brackets, closed or not."""
    path, depth = draw(paths), draw(st.sampled_from([10, 127, 128, 129, 1000, 100_000]))
    begin, end = draw(st.sampled_from([("[", "]"), ('{"a":', "}"), ('[{"content":', "}]")]))
    nested = begin * depth + "1" + draw(st.sampled_from([end, ""])) * depth
    return one("deep", path, body_with(path, (draw(fields), nested)))


@st.composite
def large(draw):
    """A megabyte of text, of a name, of items, or of the body's beginning."""
    path, piece = draw(paths), draw(st.sampled_from(["a", "a ", "\\u0000", "\U0001f408", "\\ud800", "\\n"]))
    text = '"' + piece * (MILLION // len(piece)) + '"'
    leaf, number = draw(leaves), draw(st.sampled_from([1000, 2049, 100_000, MILLION]))
    items = "[" + ",".join([leaf] * min(number, 9 * MILLION // (len(leaf) + 1))) + "]"
    name, value = draw(
        st.sampled_from(
            [
                *(
                    (field, text)
                    for field in ("prompt", "model", "user", "stop", "temperature", "logit_bias")
                ),
                *((field, items) for field in ("prompt", "messages", "stop", "tokens", "bad_words")),
                ("messages", f'[{{"role":"user","content":{text}}}]'),
                ("messages", f'[{{"role":{text},"content":"a"}}]'),
                (text[1:-1], "1"),
            ]
        )
    )
    if len(value) > MILLION and "\\u0000" in value and draw(st.booleans()):
        value = value[:-2]
    return one("large", path, body_with(path, (name, value)))


@st.composite
def broken(draw):
    """A valid body of which some bytes are others, missing or twice there; or bytes that are no text."""
    path = draw(paths)
    body = bytearray(body_with(path))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(body) - 1)))
        body[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return one(
        "broken", path, bytes(draw(st.sampled_from([body, b"\xef\xbb\xbf" + body, b"\xff\xfe" + body])))
    )
