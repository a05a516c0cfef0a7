# SPDX-License-Identifier: Apache-2.0
"""What a request answers does not depend on how the engine cut its tokens into chunks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_ensemble.contract.request import Chunk, Part, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.postprocessing.detokenizer import Detokenizer
from llm_ensemble.postprocessing.postprocessor import Postprocessor
from tests.unit.postprocessing.test_text_properties import any_ids, cut, tokenizer_of, whole

few = settings(max_examples=100, deadline=None, derandomize=True, database=None)


class Replies:
    """Keeps the responses."""

    def __init__(self):
        self.texts = []

    def send(self, text, *, last):
        self.texts += [text] if text else []

    def fail(self, error):
        raise error


def answer(tokenizer, chunks, stop_words, streamed):
    """One request through a Postprocessor: all its text, why it ended, how many tokens."""
    postprocessor = Postprocessor(tokenizer, abort=lambda stream: None)
    replies = Replies()
    postprocessor.begin(StreamId(7), TextOptions(streamed, stop_words, "", 3), replies)
    for number, ids in enumerate(chunks):
        last = number == len(chunks) - 1
        part = Part(0, ids, "length" if last else "")
        postprocessor.add(Chunk(7, [part] if ids or last else [], last))
    given = [text.sequences[0] for text in replies.texts]
    assert [bool(share.finish) for share in given] == [False] * (len(given) - 1) + [True]
    text = "".join(share.text for share in given)
    return text, given[-1].finish, sum(share.num_tokens for share in given)


def certain_text(tokenizer, ids):
    return Detokenizer(tokenizer).feed(ids)


def stop_words_of(text):
    """Some that are in the text, whole or not, and some that are not."""
    places = st.tuples(st.integers(0, len(text)), st.integers(0, 8))
    inside = places.map(lambda place: text[place[0] : sum(place)])
    return st.lists(inside | inside.map(lambda word: word + "x") | st.text(max_size=2), max_size=4)


@pytest.mark.parametrize("make", ["byte level", "llama", "word piece, clean-up", "written in python"])
@few
@given(data=st.data())
def test_the_answer_does_not_depend_on_the_chunks(make, data):
    tokenizer = tokenizer_of(make)
    ids = data.draw(any_ids(tokenizer))
    stop_words = data.draw(stop_words_of(whole(tokenizer, ids)))
    plain = answer(tokenizer, [ids], stop_words, False)
    assert plain == answer(tokenizer, cut(data, ids), stop_words, False)
    assert plain == answer(tokenizer, cut(data, ids), stop_words, True)
    assert plain == answer(tokenizer, [[token_id] for token_id in ids] + [[]], stop_words, True)


@pytest.mark.parametrize("make", ["byte level", "llama", "unigram"])
@few
@given(data=st.data())
def test_the_answer_is_the_text_up_to_its_first_stop_word(make, data):
    tokenizer = tokenizer_of(make)
    ids = data.draw(any_ids(tokenizer))
    text = whole(tokenizer, ids)
    stop_words = [word for word in data.draw(stop_words_of(text)) if word]
    ends = [(text.find(word) + len(word), text.find(word)) for word in stop_words if word in text]
    shown, finish, tokens = answer(tokenizer, cut(data, ids), stop_words, True)
    assert (shown, finish) == ((text[: min(ends)[1]], "stop") if ends else (text, "length"))
    enough = (n for n in range(len(ids)) if ends and len(certain_text(tokenizer, ids[:n])) >= min(ends)[0])
    assert tokens == next(enough, len(ids))
