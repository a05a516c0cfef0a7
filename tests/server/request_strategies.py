# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for requests: valid, nearly valid, invalid, and bodies that are no requests.

Two things are never generated, since tritonserver 2.51.0 dies of them: JSON nested tens of thousands deep
(a segmentation fault), and a classification of an output of strings (a division by 0).
"""

import json
import struct

import numpy as np
import tritonclient.grpc as grpcclient
from hypothesis import strategies as st

from llm_ensemble.contract.fields import FIELDS
from tests.asking import DTYPE, tensor

# A request that is valid must be short, whatever else it has.
SHORT = {"text_input": "The server", "max_tokens": 6, "deadline_ms": 500}

INTEGERS = [0, 1, 2, 3, 8, -1, -2, 9, 33, 4095, 4096, 2**31 - 1, -(2**31), 2**31, 2**32, 2**32 + 2, 2**63 - 1]
INTEGERS += [-(2**63), 2**63, 2**64 - 1, 2**64, 10**30]
FLOATS = [0.0, -0.0, 0.5, 1.0, 1.5, 2.0, -2.0, 100.0, 101.0, -11.0, 1e-45, 1e-38, 1e38, 1e39, 1e300]
FLOATS += [float("nan"), float("inf"), -float("inf")]
TEXTS = ["", " ", "a", "The server", "\0", "\n", "é", "\N{GRINNING FACE}", "</s>", "[]", "null", "a" * 3000]
WELL_KNOWN = ["id", "parameters", "sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "n"]
WELL_KNOWN += ["", "headers", "stop", "prompt", "binary_data_output", "triton_enable_empty_final_response"]


def mostly(often, seldom):
    """Nine times of ten the first. (one_of would count what `seldom` is made of as so many alternatives.)"""
    return st.integers(0, 9).flatmap(lambda die: seldom if die == 7 else often)


integers = mostly(st.integers(1, 8), st.sampled_from(INTEGERS) | st.integers(-10, 600))
floats = mostly(st.floats(0.01, 1), st.sampled_from(FLOATS) | st.floats(width=32))
texts = st.sampled_from(TEXTS) | st.text(max_size=40)
scalars = st.none() | st.booleans() | integers | floats | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
VALUES = {"BYTES": texts, "INT32": integers, "UINT64": integers, "FP32": floats, "BOOL": st.booleans()}


def values_of(name):
    """Values of a field's type, in its range or not."""
    values = VALUES[FIELDS[name].datatype]
    if FIELDS[name].many:
        one = "w" if FIELDS[name].datatype == "BYTES" else 7
        many = st.lists(values, max_size=4) | st.integers(0, 2000).map(lambda n: [one] * n)
        return many | values
    return values


@st.composite
def misspelt(draw):
    """A field's name with a character left out or doubled."""
    name = draw(st.sampled_from(list(FIELDS)))
    at = draw(st.integers(0, len(name) - 1))
    return name[:at] + draw(st.sampled_from(["", name[at] * 2])) + name[at + 1 :]


# Most requests would be refused for what this engine or the demo model always refuses, were these not rare.
REFUSED = {
    *("messages", "bad_words", "presence_penalty", "frequency_penalty", "input_ids", "top_log_probs"),
    *("logit_bias", "embedding_bias_words", "embedding_bias_weights"),
}
TAKEN = [name for name in FIELDS if name not in REFUSED]
names = mostly(st.sampled_from(TAKEN), st.sampled_from(list(FIELDS)))
good_pairs = names.flatmap(lambda name: st.tuples(st.just(name), values_of(name)))
bad_pairs = st.one_of(
    st.tuples(names, anything),
    st.tuples(misspelt() | st.sampled_from(WELL_KNOWN) | st.text(max_size=100), anything),
)


def lists_of(things, name):
    """Up to five, mostly of different names."""
    return mostly(st.lists(things, max_size=5, unique_by=name), st.lists(things, max_size=5))


@st.composite
def bodies(draw):
    """The JSON of /generate; keys may come twice."""
    left_out = draw(st.sets(st.sampled_from(list(SHORT)), max_size=1)) if draw(st.booleans()) else set()
    pairs = draw(st.sampled_from([good_pairs, good_pairs, good_pairs | bad_pairs]))
    drawn = draw(lists_of(pairs, lambda pair: pair[0]))
    over = {name for name, _ in drawn} if draw(st.integers(0, 9)) else set()
    items = [item for item in SHORT.items() if item[0] not in left_out | over] + drawn
    ascii_only = draw(st.booleans())
    members = [
        f"{json.dumps(name, ensure_ascii=ascii_only)}: {json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in items
    ]
    if draw(st.integers(0, 9)) == 0:
        members = [members[0], f'"parameters": {{{", ".join(members[1:])}}}']
    return ("{" + ", ".join(members) + "}").encode()


@st.composite
def broken(draw):
    """A body with some bytes put in, or its end cut off."""
    body = draw(bodies())
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=4)) + body[at if draw(st.booleans()) else len(body) :]


no_bodies = st.one_of(
    broken(), st.binary(max_size=200), anything.map(lambda value: json.dumps(value).encode())
)
any_body = mostly(bodies(), no_bodies)
http_cases = st.tuples(st.sampled_from(["generate", "generate_stream"]), any_body)

SIZES = {
    "BOOL": 1,
    "UINT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "UINT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
}
datatypes = st.sampled_from([*SIZES, "BYTES", "NONE", ""])
shapes = st.lists(st.sampled_from([1, 1, 1, 2, 0, 65, -1, 2**31, 2**63 - 1]), max_size=4)


def in_bytes(datatype, value):
    """A value as Triton sends it, an integer beyond its type wrapped."""
    if datatype == "BYTES":
        raw = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<I", len(raw)) + raw
    if datatype in ("INT32", "UINT64"):
        bits = 8 * SIZES[datatype]
        return (value % 2**bits).to_bytes(bits // 8, "little")
    with np.errstate(over="ignore"):
        return np.array(value, dtype=DTYPE[datatype]).tobytes()


class Raw:
    """A tensor as it goes over the wire; repr for hypothesis."""

    def __init__(self, name, datatype, shape, content):
        self.name, self.datatype, self.shape, self.content = name, datatype, shape, content

    def __repr__(self):
        return f"Raw({self.name!r}, {self.datatype!r}, {self.shape}, {self.content[:200]!r})"

    @property
    def input(self):
        made = grpcclient.InferInput(self.name, self.shape, self.datatype)
        made._raw_content = self.content
        return made


@st.composite
def good_tensors(draw):
    """A field's own type and shape; the value may be anything of the type, or text that is not UTF-8."""
    name = draw(names)
    datatype = FIELDS[name].datatype
    one = VALUES[datatype]
    if datatype == "BYTES":
        one = one | one | one | st.binary(max_size=20)
    values = draw(st.lists(one, max_size=4)) if FIELDS[name].many else [draw(one)]
    content = b"".join(in_bytes(datatype, value) for value in values)
    return Raw(name, datatype, [1, len(values)], content)


@st.composite
def bad_tensors(draw):
    """At least one of name, type, shape and content is made up."""
    good = draw(good_tensors())
    name = draw(st.sampled_from([good.name] * 5 + ["max_token", "prompt_ids", "", "é\n"]))
    datatype = draw(st.sampled_from([good.datatype] * 3) | datatypes)
    shape = draw(st.just(good.shape) | shapes)
    content = draw(st.just(good.content) | st.binary(max_size=40) | st.integers(0, 100_000).map(bytes))
    return Raw(name, datatype, shape, content)


parameters = st.dictionaries(
    misspelt() | st.sampled_from(list(FIELDS)) | st.text(max_size=30),
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats | texts,
    max_size=1,
)
options = st.fixed_dictionaries(
    {},
    optional={
        "request_id": texts,
        "sequence_id": st.integers(-(2**63), 2**63 - 1) | st.text(max_size=10),
        "sequence_start": st.booleans(),
        "priority": st.integers(0, 2**63 - 1),
        "timeout": st.integers(0, 10**9),
        "parameters": parameters,
    },
)


@st.composite
def requests(draw):
    """Inputs of one gRPC request; a drawn one takes the place of the one it is named like."""
    made = draw(st.sampled_from([good_tensors(), good_tensors(), good_tensors() | bad_tensors()]))
    drawn = draw(lists_of(made, lambda one: one.name))
    named = {one.name for one in drawn}
    base = [tensor(name, [value]) for name, value in SHORT.items() if name not in named]
    base = [Raw(one.name(), one.datatype(), one.shape(), one._raw_content) for one in base]
    return [*base, *drawn], draw(options) if draw(st.integers(0, 3)) == 0 else {}


grpc_cases = st.tuples(st.sampled_from(["ensemble", "ensemble_unary"]), requests())
