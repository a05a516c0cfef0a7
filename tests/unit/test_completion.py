# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.completion import Postprocessor
from llm_ensemble.errors import EngineError
from llm_ensemble.request import Chunk, TextOptions


class Stream:
    """Sends a text through a Postprocessor, chunk by chunk, the way the engine step would."""

    def __init__(self, tokenizer, *, stream, stop_words=(), echo=""):
        self.aborted = []
        self.tokenizer = tokenizer
        self.post = Postprocessor(tokenizer, self.aborted.append)
        self.options = TextOptions(stream, list(stop_words), echo, 3)
        self.sequence = 0

    def send(self, text="", finish="", client_left=False, sequence=None, error=""):
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        options = self.options if self.sequence == 0 else None
        number = self.sequence if sequence is None else sequence
        self.sequence += 1
        return self.post.add(Chunk(7, number, ids, finish, error, options), client_left)

    @property
    def open(self):
        return len(self.post._open)


def test_a_stream_gives_each_chunk_s_text_and_tokens(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    responses = [stream.send("ab"), stream.send("c"), stream.send("d", finish="length")]
    assert [(r.text, r.finish, r.num_output_tokens) for r in responses] == [
        ("ab", "", 2),
        ("c", "", 1),
        ("d", "length", 1),
    ]
    assert {r.num_input_tokens for r in responses} == {3}
    assert (stream.open, stream.aborted) == (0, [])


def test_a_plain_request_gives_one_response_at_its_end(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=False)
    assert [stream.send("ab"), stream.send("c")] == [None, None]
    last = stream.send("d", finish="stop")
    assert (last.text, last.finish, last.num_output_tokens) == ("abcd", "stop", 4)


def test_tokens_without_text_yet_are_counted_with_the_text_they_become(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["xyz"])
    assert stream.send("x") is None
    response = stream.send("a")
    assert (response.text, response.num_output_tokens) == ("xa", 2)


def test_an_empty_completion_still_gives_one_last_response(byte_tokenizer):
    for streamed in (True, False):
        response = Stream(byte_tokenizer, stream=streamed).send("", finish="stop")
        assert (response.text, response.finish, response.num_output_tokens) == ("", "stop", 0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_stop_string_ends_the_stream_and_aborts_the_engine_once(byte_tokenizer, streamed):
    stream = Stream(byte_tokenizer, stream=streamed, stop_words=["END"])
    responses = [
        stream.send("one E"),
        stream.send("ND two"),
        stream.send("three"),
        stream.send("", "cancelled"),
    ]
    answered = [response for response in responses if response]
    assert "".join(response.text for response in answered) == "one "
    assert answered[-1].finish == "stop"
    assert sum(response.num_output_tokens for response in answered) == len("one END")
    assert (stream.open, stream.aborted) == (0, [7])


def test_a_stop_string_in_the_very_last_chunk_needs_no_abort(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["END"])
    response = stream.send("one END", finish="length")
    assert (response.text, response.finish, stream.aborted) == ("one ", "stop", [])


def test_what_is_held_back_comes_out_at_the_end(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["END"])
    assert stream.send("one EN").text == "one "
    assert stream.send("", finish="length").text == "EN"


def test_the_echo_comes_first_once_and_matches_no_stop_string(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["ab"], echo="ab")
    assert [stream.send("c").text, stream.send("d", finish="length").text] == ["abc", "d"]


@pytest.mark.parametrize("chunks_before", [0, 2])
def test_a_client_that_left_is_aborted_once_and_forgotten(byte_tokenizer, chunks_before):
    stream = Stream(byte_tokenizer, stream=True)
    for _ in range(chunks_before):
        stream.send("a")
    assert [stream.send("b", client_left=True) for _ in range(3)] == [None] * 3
    assert (stream.open, stream.aborted) == (0, [7])


def test_a_missing_chunk_is_an_error_not_a_garbled_text(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    stream.send("a")
    with pytest.raises(EngineError, match="chunk 2 came, 1 was due"):
        stream.send("b", sequence=2)
    assert stream.open == 0


def test_the_engine_s_error_ends_the_stream_and_leaves_nothing(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    stream.send("a")
    with pytest.raises(EngineError, match="it burst"):
        stream.send(error="it burst")
    assert stream.open == 0
