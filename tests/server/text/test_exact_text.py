# SPDX-License-Identifier: Apache-2.0
"""The text of a request is the decode of its token ids, all at once, whatever way it came.

The ids do not reach a client, so the engine step is tapped (conftest.py).
"""

import concurrent.futures

from tests.asking import GrpcStream, generate, joined
from tests.conftest import BOTH_ENGINES

pytestmark = BOTH_ENGINES

OPENINGS = [
    "The server",
    "If you want to",
    "A package",
    "In this chapter,",
    "Naïve café — “日本語” 👩‍👩‍👧",
    "Note that",
]
PROMPTS = [f"{OPENINGS[i % len(OPENINGS)]} {i}" for i in range(200)]


def sampled(i):
    """Half of the requests greedy, half so hot that every byte comes up, valid characters among them."""
    return {"temperature": 100.0, "seed": i, "max_tokens": 400} if i % 2 else {"max_tokens": 64}


def stream_text(server, i):
    with GrpcStream(server) as stream:
        asked = stream.ask(text_input=PROMPTS[i], stream=True, request_id=str(i), **sampled(i))
        return joined(asked)


def test_200_streams_32_at_a_time_are_the_decode_of_their_ids(tapped):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda i: stream_text(tapped.server, i), range(len(PROMPTS))))
    ids = [tapped.sequences(str(i)) for i in range(200)]
    assert [[text] for text in texts] == [[*map(tapped.tokenizer.decode, one)] for one in ids]
    beyond_ascii = set("".join(texts)) - {chr(code) for code in range(128)}
    assert "\ufffd" in beyond_ascii, "no stream had an invalid byte: ask for more"
    assert beyond_ascii - {"\ufffd"}, "no stream had a character split over tokens: ask for more"


def test_streams_one_at_a_time_are_the_plain_text_of_the_same_greedy_request(server):
    for i, prompt in enumerate(PROMPTS[:60]):
        with GrpcStream(server) as stream:
            streamed = joined(stream.ask(text_input=prompt, max_tokens=32, stream=True))
        assert streamed == generate(server, prompt, max_tokens=32)["text_output"], i
