# SPDX-License-Identifier: Apache-2.0
"""Some of what tests/openai_soak sends, and a small crowd: every answer is the API's, and nothing is left."""

import asyncio

import schemathesis

from tests.openai.frontend import MODEL
from tests.openai_soak import described, drawing, sending


def test_bodies_made_of_the_description(frontend):
    schema = schemathesis.openapi.from_url(f"{frontend.url}/openapi.json")
    cases = described.drawn(schema, 120, MODEL)
    seen = described.ask(frontend.url, cases)
    assert not seen.wrong
    assert {status for _, _, status in seen.statuses} >= {200, 400}


def test_bodies_and_requests_of_our_own(frontend):
    wrong, seen = asyncio.run(sending.send_all(frontend.port, drawing.drawn(150)))
    assert not wrong
    assert {status for _, status in seen} >= {200, 400, 404, 415}
    frontend.tapped.wait(frontend.tapped.is_empty)
    assert frontend.process.poll() is None
    assert "Traceback" not in frontend.log.read_text()


def test_a_judge_that_sees_what_is_wrong():
    sent = sending.Sent("any", (b"",))
    for answer, problem in {
        b"HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n": "status 500",
        b"HTTP/1.1 400 E\r\ncontent-length: 2\r\n\r\n{}": "with the body",
        b"HTTP/1.1 200 G\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n{": "not JSON",
        b"HTTP/1.1 200 G\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n": "without its end",
        b"": "0 answers",
        b"HTTP/1.1 200 G\r\ncontent-length: 5\r\n\r\nab": "not HTTP",
    }.items():
        assert problem in sending.problems(sent, answer)[0][0]
