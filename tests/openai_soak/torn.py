# SPDX-License-Identifier: Apache-2.0
"""Requests that are odd as HTTP: their headers and paths, torn, in pieces, several at once."""

import json
import string

from hypothesis import strategies as st

from tests.openai_soak.bodies import VALID, body_with, leaves, paths
from tests.openai_soak.edges import HEADERS, KINDS, METHODS, PATHS
from tests.openai_soak.sending import Sent, chunked, request


@st.composite
def other_kinds(draw):
    """Content types and headers that are odd."""
    path, kind = draw(paths), draw(st.sampled_from(KINDS))
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=3))
    answers = None if "Expect: 100-continue" in headers else 1
    return Sent("content type", (request(path, body_with(path), kind=kind, headers=headers),), answers)


@st.composite
def odd_paths(draw):
    visible = st.text(string.printable.replace(" ", "")[:-5], max_size=20).map("/{}".format)
    path = draw(st.one_of(st.sampled_from(PATHS), visible))
    return Sent("path", (request(path, b"{}", method=draw(st.sampled_from(METHODS))),), None)


@st.composite
def chunks(draw):
    path = draw(paths)
    body = draw(
        st.sampled_from([body_with(path), body_with(path, ("stream", "true")), b'{"a":1', b"[" * 5000])
    )
    sizes = draw(st.lists(st.sampled_from([1, 2, 7, 100, 5000]), min_size=1, max_size=3))
    if len(body) > 1000:
        sizes = [max(100, size) for size in sizes]
    return Sent("chunked", chunked(path, sizes, body))


@st.composite
def pipelined(draw):
    """Several requests at once; each gets its answer, in order, unless one before it ends the connection."""
    asked = draw(st.lists(st.tuples(paths, leaves, st.booleans()), min_size=2, max_size=5))
    requests = [
        request(path, body_with(path, ("user", value), ("stream", json.dumps(streams))), close=False)
        for path, value, streams in asked
    ]
    last = request("/version", b"", kind=None, method="GET")
    return Sent("pipelined", (b"".join(requests) + last,), len(asked) + 1)


@st.composite
def torn(draw):
    """HTTP that breaks off, or is none. What is awaited for 30 s is asked for elsewhere."""
    path = draw(paths)
    whole = request(path, body_with(path))
    return draw(
        st.one_of(
            st.integers(0, len(whole) - 1).map(lambda end: Sent("half", (whole[:end],), None, stays=False)),
            st.integers(0, len(whole) - 1).map(
                lambda end: Sent("two pieces", (whole[:end] or whole[:1], whole[end or 1 :]))
            ),
            st.binary(min_size=1, max_size=50).map(
                lambda noise: Sent("noise", (noise + b"\r\n\r\n" + whole,), None)
            ),
            st.sampled_from(
                [
                    whole.replace(b"Content-Length: ", b"Content-Length: -"),
                    whole.replace(b"Content-Length: ", b"Content-Length: 9" + b"9" * 30),
                    whole.replace(b"Content-Length: ", b"Content-Length: x"),
                    whole.replace(b"HTTP/1.1", b"HTTP/9.9"),
                    whole.replace(b"Host: x", b"Transfer-Encoding: chunked"),
                    whole.replace(b"Host: x", b"Content-Length: 5"),
                    whole.replace(b"Host: x", b"A: " + b"a" * 100_000),
                    whole.replace(b"Host: x", b"\r\n".join(b"A%d: b" % i for i in range(5000))),
                    whole.replace(b"Host: x", b"A\0: b"),
                    whole.replace(b"\r\n", b"\n"),
                    chunked(path, [5], b"{}")[0] + b"zz\r\n{}\r\n0\r\n\r\n",
                    chunked(path, [5], b"{}")[0] + b"ffffffffffffffffff\r\n{}",
                ]
            ).map(lambda noise: Sent("torn", (noise,), None)),
        )
    )


def late():
    """Return requests of which a part never comes, though their clients stay: each gets its 408."""
    wholes = [request(path, body_with(path)) for path in VALID]
    halves = [whole[: len(whole) * part // 10] for whole in wholes for part in (1, 5, 9)]
    return [
        Sent("late", (half,), None) for half in [*halves, *(b"".join(pair) for pair in zip(wholes, halves))]
    ]
