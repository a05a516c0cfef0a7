# SPDX-License-Identifier: Apache-2.0
import contextlib
import time

import pytest

from llm_ensemble.contract.request import Chunk, Part, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.stream import QUIET_SECONDS
from llm_ensemble.errors import EngineError
from llm_ensemble.postprocessing.postprocessor import SILENT_SECONDS, Postprocessor

UNARY = StreamId(2**63)


@pytest.fixture
def clock(monkeypatch):
    """Time stands still until the test moves it: clock[0] is now."""
    now = [time.monotonic()]
    monkeypatch.setattr("llm_ensemble.postprocessing.postprocessor.time.monotonic", lambda: now[0])
    return now


class Reply:
    """Keeps the last response; refuses any after the end, as Triton does."""

    text = error = None
    is_over = False

    def send(self, text, *, last):
        assert not self.is_over
        assert text or last, "neither a response nor the end"
        self.text, self.is_over = text, last

    def fail(self, error):
        assert not self.is_over
        self.error, self.is_over = error, True


class Stream:
    """Sends a text through a Postprocessor, chunk by chunk, the way the engine step would."""

    def __init__(self, tokenizer, *, stream, stop_words=(), echo="", sequences=1, log_probs=False, name=7):
        self.aborted, self.answered = [], {}
        self.tokenizer = tokenizer
        self.post = Postprocessor(tokenizer, self.aborted.append, self.answered.__setitem__)
        self.options = TextOptions(
            stream, list(stop_words), echo, 3, sequences, log_probs, arrived=time.monotonic()
        )
        self.name, self.reply = name, Reply()
        self.is_begun = False

    def part(self, text="", finish="", index=0):
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not self.options.log_probs:
            return Part(index, ids, finish)
        top = [one for token_id in ids for one in (token_id, 0)]
        return Part(index, ids, finish, [-1.0] * len(ids), top, [-1.0, -2.0] * len(ids))

    def begin(self):
        if not self.is_begun:
            self.post.begin(StreamId(self.name), self.options, self.reply)
            self.is_begun = True

    def send_parts(self, *parts, last=False, error=""):
        """Send a chunk; return the response to it, or raise its error."""
        self.begin()
        self.reply.text = None
        self.post.add(Chunk(self.name, [*parts], last, error))
        if self.reply.error:
            raise self.reply.error
        return self.reply.text

    def send(self, text="", finish="", **options):
        """One sequence's next text; the response's share of it."""
        response = self.send_parts(self.part(text, finish), last=bool(finish), **options)
        return response and response.sequences[0]


def test_a_stream_gives_each_chunk_s_text_and_tokens(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    shares = [stream.send("ab"), stream.send("c"), stream.send("d", finish="length")]
    assert [(s.text, s.finish, s.num_tokens) for s in shares] == [
        ("ab", "", 2),
        ("c", "", 1),
        ("d", "length", 1),
    ]
    assert stream.reply.is_over
    assert (stream.post.open, stream.aborted) == (0, [])


def test_every_response_says_how_long_the_prompt_was(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    responses = [stream.send_parts(stream.part("a")), stream.send_parts(stream.part("b", "stop"), last=True)]
    assert [response.num_input_tokens for response in responses] == [3, 3]


def test_a_unary_request_gives_one_response_at_its_end(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=False)
    assert [stream.send("ab"), stream.send("c")] == [None, None]
    last = stream.send("d", finish="stop")
    assert (last.text, last.finish, last.num_tokens) == ("abcd", "stop", 4)


def test_the_answer_to_what_ensemble_unary_forwarded_goes_its_own_way(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=False, name=UNARY)
    assert stream.send_parts(stream.part("ab")) is None
    assert stream.send_parts(stream.part("c", "stop"), last=True) is None
    (answer,) = stream.answered.items()
    assert (answer[0], answer[1].sequences[0].text) == (UNARY, "abc")
    assert stream.reply.is_over


def test_tokens_without_text_yet_are_counted_with_the_text_they_become(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["xyz"])
    assert stream.send("x") is None
    share = stream.send("a")
    assert (share.text, share.num_tokens) == ("xa", 2)


def test_an_empty_completion_still_gives_one_last_response(byte_tokenizer):
    for streamed in (True, False):
        share = Stream(byte_tokenizer, stream=streamed).send("", finish="stop")
        assert (share.text, share.finish, share.num_tokens) == ("", "stop", 0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_stop_string_ends_the_stream_and_aborts_the_engine_once(byte_tokenizer, streamed):
    stream = Stream(byte_tokenizer, stream=streamed, stop_words=["END"])
    shares = [stream.send("one E"), stream.send("ND two"), stream.send("three"), stream.send("", "cancelled")]
    answered = [share for share in shares if share]
    assert "".join(share.text for share in answered) == "one "
    assert answered[-1].finish == "stop"
    assert sum(share.num_tokens for share in answered) == len("one END")
    assert stream.reply.is_over
    assert (stream.post.open, stream.aborted) == (0, [7])


def test_a_stop_string_in_the_very_last_chunk_needs_no_abort(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["END"])
    share = stream.send("one END", finish="length")
    assert (share.text, share.finish, stream.aborted) == ("one ", "stop", [])


def test_what_is_held_back_comes_out_at_the_end(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["END"])
    assert stream.send("one EN").text == "one "
    assert stream.send("", finish="length").text == "EN"


def test_a_stop_string_can_be_completed_by_a_character_that_stays_incomplete(byte_tokenizer):
    """The end of a stream turns a lone byte into U+FFFD, and that is text like any other."""
    stream = Stream(byte_tokenizer, stream=True, stop_words=["x\ufffd"])
    stream.send("a")
    lone = byte_tokenizer.encode("é", add_special_tokens=False).ids[:1]
    ids = byte_tokenizer.encode("x", add_special_tokens=False).ids + lone
    (share,) = stream.send_parts(Part(0, ids, "length"), last=True).sequences
    assert (share.text, share.finish) == ("", "stop")


def test_the_echo_comes_first_once_and_matches_no_stop_string(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["ab"], echo="ab")
    assert [stream.send("c").text, stream.send("d", finish="length").text] == ["abc", "d"]


def test_a_stream_that_waits_for_its_first_text_gets_an_empty_response_to_each_quiet_chunk(
    byte_tokenizer, clock
):
    """Triton's HTTP server does not see that a client has left before the first response."""
    stream = Stream(byte_tokenizer, stream=True)
    for _ in range(3):
        clock[0] += QUIET_SECONDS
        (share,) = stream.send_parts().sequences
        assert (share.text, share.finish, share.num_tokens) == ("", "", 0)
    assert stream.send_parts() is None
    assert stream.send("a").text == "a"
    assert stream.send_parts() is None


def test_a_stream_whose_text_is_held_back_gets_empty_responses_and_its_usage_with_the_text(
    byte_tokenizer, clock
):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["xxxxy"], log_probs=True)
    assert stream.send("a").cum_log_prob == -1
    shares = []
    for _ in range(3):
        clock[0] += SILENT_SECONDS * 1.01  # what is added and taken off again may lose its last bit
        shares.append(stream.send("x"))
    assert [(s.text, s.num_tokens, s.scores.log_probs, s.cum_log_prob) for s in shares] == [
        ("", 0, [], -1)
    ] * 3
    share = stream.send("b")
    assert (share.text, share.num_tokens, share.scores.log_probs, share.cum_log_prob) == (
        "xxxb",
        4,
        [-1] * 4,
        -5,
    )


def test_a_response_with_text_puts_the_next_empty_one_off(byte_tokenizer, clock):
    stream = Stream(byte_tokenizer, stream=True)
    for _ in range(3):
        clock[0] += SILENT_SECONDS * 0.75
        assert stream.send("a").text == "a"
        clock[0] += SILENT_SECONDS * 0.75
        assert stream.send_parts() is None


def test_a_unary_request_gets_no_empty_response(byte_tokenizer, clock):
    stream = Stream(byte_tokenizer, stream=False)
    clock[0] += 10
    assert [stream.send_parts(), stream.send("a")] == [None, None]
    assert stream.send("", finish="stop").text == "a"


def test_chunks_of_a_stream_that_has_not_begun_or_has_ended_are_dropped(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    stream.post.add(Chunk(7, [stream.part("a")]))
    assert stream.send("b", finish="stop").text == "b"
    assert stream.send("c") is None
    assert (stream.post.open, stream.aborted) == (0, [])


def test_a_second_stream_of_an_id_ends_with_an_error_and_the_first_goes_on(byte_tokenizer):
    stream, second = Stream(byte_tokenizer, stream=True), Reply()
    stream.begin()
    stream.post.begin(StreamId(7), stream.options, second)
    assert isinstance(second.error, EngineError)
    assert stream.send("a", finish="stop").text == "a"


def test_a_fault_of_ours_ends_the_stream_and_aborts_the_engine(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    with pytest.raises(IndexError):
        stream.send_parts(stream.part("a", index=1))
    assert (stream.post.open, stream.aborted) == (0, [7])


def test_the_engine_s_error_ends_the_stream_and_leaves_nothing(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True)
    stream.send("a")
    with pytest.raises(EngineError, match="it burst"):
        stream.send_parts(last=True, error="it burst")
    assert (stream.post.open, stream.aborted) == (0, [])


def test_log_probs_come_with_the_tokens_they_belong_to_and_add_up(byte_tokenizer):
    stream = Stream(byte_tokenizer, stream=True, stop_words=["xy"], log_probs=True)
    shares = [stream.send("ab"), stream.send("cx"), stream.send("yz")]
    assert [share.scores.log_probs for share in shares] == [[-1, -1], [-1, -1], [-1]]
    ids = stream.part("abcxy").token_ids
    assert [share.scores.token_ids for share in shares] == [ids[:2], ids[2:4], ids[4:]]
    assert [share.scores.top_ids for share in shares] == [
        [ids[0], 0, ids[1], 0], [ids[2], 0, ids[3], 0], [ids[4], 0]
    ]  # fmt: skip
    assert [share.scores.top_log_probs for share in shares] == [[-1, -2] * 2, [-1, -2] * 2, [-1, -2]]
    assert [share.cum_log_prob for share in shares] == [-2, -4, -5]
    assert [share.num_tokens for share in shares] == [2, 2, 1]


class TestSeveralSequences:
    def test_a_unary_request_waits_for_all_of_them(self, byte_tokenizer):
        stream = Stream(byte_tokenizer, stream=False, sequences=2, echo=">")
        assert stream.send_parts(stream.part("ab", "stop", 0), stream.part("c", "", 1)) is None
        response = stream.send_parts(stream.part("d", "length", 1), last=True)
        assert [(s.text, s.finish, s.num_tokens) for s in response.sequences] == [
            (">ab", "stop", 2),
            (">cd", "length", 2),
        ]

    def test_a_stream_gives_each_its_new_text_and_repeats_an_end_that_was_told(self, byte_tokenizer):
        stream = Stream(byte_tokenizer, stream=True, sequences=2)
        first = stream.send_parts(stream.part("a", "stop", 0), stream.part("b", "", 1))
        last = stream.send_parts(stream.part("c", "length", 1), last=True)
        assert [(s.text, s.finish) for s in first.sequences] == [("a", "stop"), ("b", "")]
        assert [(s.text, s.finish) for s in last.sequences] == [("", "stop"), ("c", "length")]

    def test_an_empty_response_has_a_share_for_each_and_repeats_an_end_that_was_told(
        self, byte_tokenizer, clock
    ):
        stream = Stream(byte_tokenizer, stream=True, sequences=2)
        stream.send_parts(stream.part("a", "stop", 0))
        clock[0] += SILENT_SECONDS * 1.01  # what is added and taken off again may lose its last bit
        response = stream.send_parts()
        assert [(s.text, s.finish, s.num_tokens) for s in response.sequences] == [
            ("", "stop", 0),
            ("", "", 0),
        ]

    def test_an_end_without_text_is_told(self, byte_tokenizer):
        stream = Stream(byte_tokenizer, stream=True, sequences=2)
        response = stream.send_parts(stream.part("", "stop", 0))
        assert [s.finish for s in response.sequences] == ["stop", ""]
        assert stream.send_parts() is None

    def test_the_engine_is_stopped_when_each_has_its_stop_string(self, byte_tokenizer):
        stream = Stream(byte_tokenizer, stream=False, sequences=2, stop_words=["."])
        assert stream.send_parts(stream.part("a.b", index=0), stream.part("c", index=1)) is None
        assert stream.send_parts(stream.part("more", index=0)) is None
        assert stream.aborted == []
        response = stream.send_parts(stream.part(".", index=1))
        assert [(s.text, s.finish) for s in response.sequences] == [("a", "stop"), ("c", "stop")]
        assert (stream.post.open, stream.aborted) == (0, [7])


class Noted:
    """A report that keeps what it is told."""

    def __init__(self, options):
        self.tokens, self.ends = 0, []

    def on_response(self, text):
        self.tokens += sum(share.num_tokens for share in text.sequences)

    def on_finish(self, finishes, name):
        self.ends.append((finishes, name))


def reported(tokenizer, *chunks, name=lambda: ""):
    """What is reported of a stream of such chunks: text, finish, and what else a chunk may have."""
    stream, reports = Stream(tokenizer, stream=True, stop_words=["zz"]), []
    stream.post._report = lambda options: reports.append(Noted(options)) or reports[-1]
    for text, finish, options in chunks:
        with contextlib.suppress(EngineError):
            stream.send(text, finish, **options)
    (report,) = reports
    return report.tokens, report.ends


@pytest.mark.parametrize(
    ("chunks", "tokens", "finish"),
    [
        ([("ab", "", {}), ("c", "length", {})], 3, "length"),
        ([("ab", "", {}), ("zz", "", {}), ("c", "length", {})], 4, "stop"),
        ([("ab", "", {}), ("c", "cancelled", {})], 3, "cancelled"),
        ([("ab", "", {}), ("", "", {"error": "broken"})], 2, "error"),
    ],
)
def test_however_a_stream_ends_its_end_is_reported_once(byte_tokenizer, chunks, tokens, finish):
    assert reported(byte_tokenizer, *chunks) == (tokens, [([finish], "#7")])
