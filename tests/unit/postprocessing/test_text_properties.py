# SPDX-License-Identifier: Apache-2.0
"""Properties of Detokenizer and StopMatcher, over tokenizers of every make and texts of every kind."""

from functools import cache
from itertools import chain, product, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_ensemble.postprocessing.detokenizer import Detokenizer
from llm_ensemble.postprocessing.stop import StopMatcher
from tests.unit.postprocessing.made_tokenizers import CHAINS, MADE, SENTENCES, STREAMED, TEXT_AT_END, letters

few = settings(max_examples=100, deadline=None, derandomize=True, database=None)
fewer = settings(few, max_examples=40)

FRAGMENTS = [
    *(
        "a",
        "the ",
        "Do n't .",
        "<tool>",
        " <end of tool> ",
        "</s>",
        "<think>",
        "日本",
        "▁",
        "Ġ",
        "</w>",
        "<0x41>",
    ),
    *("日本語", "한국어", "é", "e\u0301", "\u0301", "👩‍👩‍👧", "👍🏽", "🇩🇪🇫🇷", "\u200d", "\ufe0f", "🏽"),
    *(
        "שלום",
        "مرحبا",
        "\u202e",
        "\n",
        "\n\n",
        "\t",
        "  ",
        "     ",
        " ",
        "\ufffd",
        "\ufffd\ufffd",
        "\x00",
        "𝕏",
    ),
    *SENTENCES,
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=6).map("".join)
made = pytest.mark.parametrize("make", MADE)
streamed = pytest.mark.parametrize("make", STREAMED)


@cache
def tokenizer_of(make):
    return MADE[make]()


def any_ids(tokenizer):
    """Ids a model may emit: a text's, any of the vocabulary, some that the tokenizer has no token for."""
    of_text = texts.map(lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
    of_vocabulary = st.lists(st.integers(0, tokenizer.get_vocab_size() + 4), max_size=12)
    return st.lists(of_text | of_vocabulary, max_size=3).map(lambda lists: [*chain(*lists)])


def whole(tokenizer, ids, skip_special_tokens=True):
    return tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


SHORT = [list(ids) for n in range(4) for ids in product(range(6), repeat=n)]


def common_beginning(texts):
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(texts), max(texts)))
    return "".join(character for character, _ in pairs)


def cut(data, ids):
    places = data.draw(st.lists(st.integers(0, len(ids)), max_size=len(ids)).map(sorted), "cuts")
    return [ids[i:j] for i, j in zip([0, *places], [*places, len(ids)])]


@made
@few
@given(data=st.data())
def test_the_pieces_joined_are_the_whole_decode_however_the_ids_are_cut(make, data):
    tokenizer = tokenizer_of(make)
    ids = data.draw(any_ids(tokenizer))
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.feed(chunk) for chunk in cut(data, ids)]
    assert "".join(pieces) + detokenizer.flush() == whole(tokenizer, ids)
    assert detokenizer.flush() == ""


@made
@few
@given(data=st.data())
def test_with_special_tokens_the_pieces_are_the_whole_decode_too(make, data):
    tokenizer = tokenizer_of(make)
    ids = data.draw(any_ids(tokenizer))
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    pieces = [detokenizer.feed(chunk) for chunk in cut(data, ids)]
    assert "".join(pieces) + detokenizer.flush() == whole(tokenizer, ids, skip_special_tokens=False)


def futures(tokenizer):
    """Ways a stream may go on, enough to change whatever may change: an end, any token, bytes after it."""
    everything = range(tokenizer.get_vocab_size())
    continued = tokenizer.token_to_id("<0x80>") or tokenizer.token_to_id("Ģ") or 0
    return [[], *([first] + [continued] * more for more in range(3) for first in everything)]


@streamed
@fewer
@given(data=st.data())
def test_what_no_future_changes_is_given_out_and_nothing_else(make, data):
    tokenizer = tokenizer_of(make)
    ids = data.draw(any_ids(tokenizer))[:12]
    given_out = Detokenizer(tokenizer).feed(ids)
    certain = common_beginning([whole(tokenizer, ids + future) for future in futures(tokenizer)])
    # A run of byte tokens waits even where text and spoilt text would begin alike, with a U+FFFD.
    alike = "\ufffd" if tokenizer.token_to_id("<0x80>") else ""
    assert given_out.rstrip(alike) == certain.rstrip(alike)
    assert certain.startswith(given_out)


@streamed
@few
@given(text=texts)
def test_nothing_given_out_is_ever_taken_back(make, text):
    tokenizer = tokenizer_of(make)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    detokenizer, shown = Detokenizer(tokenizer), ""
    for token_id in ids:
        shown += detokenizer.feed([token_id])
        assert whole(tokenizer, ids).startswith(shown)


@streamed
def test_ordinary_text_comes_out_with_each_token(make):
    tokenizer = tokenizer_of(make)
    ids = tokenizer.encode("the lazy dog, does it?", add_special_tokens=False).ids
    detokenizer = Detokenizer(tokenizer)
    shown = ""
    for end, token_id in enumerate(ids, 1):
        shown += detokenizer.feed([token_id])
        assert shown == whole(tokenizer, ids[:end])


@pytest.mark.parametrize("make", TEXT_AT_END)
def test_a_decoder_that_may_change_all_of_its_text_gives_it_at_the_end(make):
    tokenizer = tokenizer_of(make)
    ids = tokenizer.encode("the lazy dog", add_special_tokens=False).ids
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.feed(ids) == ""
    assert detokenizer.flush() == whole(tokenizer, ids) != ""


@pytest.mark.parametrize("chain", CHAINS)
@few
@given(data=st.data())
def test_what_decoders_do_across_tokens_is_done_across_pieces(chain, data):
    tokenizer = letters(CHAINS[chain])
    some = st.lists(st.integers(0, tokenizer.get_vocab_size()), max_size=6)
    # An "a" in it: the library's Strip panics on a text that is nothing but what it strips.
    ids = [*data.draw(some), tokenizer.token_to_id("a"), *data.draw(some)]
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.feed(ids) == common_beginning([whole(tokenizer, ids + more) for more in SHORT])
    assert detokenizer.flush() == whole(tokenizer, ids)[len(Detokenizer(tokenizer).feed(ids)) :]
    detokenizer = Detokenizer(tokenizer)
    assert "".join(map(detokenizer.feed, cut(data, ids))) + detokenizer.flush() == whole(tokenizer, ids)


few_letters = st.text(alphabet="aab👍\n", max_size=6)
stop_words = st.lists(few_letters, max_size=5)


@st.composite
def words_and_text(draw):
    """Stop words, and a text with whole ones, beginnings and endings of them in it."""
    words = draw(stop_words)
    parts = [*words, *(word[:-1] for word in words), *(word[1:] for word in words), "a"]
    text = draw(st.lists(few_letters | st.sampled_from(parts), max_size=6).map("".join))
    return words, text


def expected(words, text):
    """By brute force: what is shown of the whole text, and whether a stop word was found."""
    for end in range(1, len(text) + 1):
        found = [len(word) for word in words if word and text[:end].endswith(word)]
        if found:
            return text[: end - max(found)], True
    return text, False


def undecided(words, text):
    """By brute force: the longest ending that is a beginning of a stop word, but not all of it."""
    beginnings = {word[:n] for word in words for n in range(1, len(word))}
    return max((n for n in range(1, len(text) + 1) if text[-n:] in beginnings), default=0)


many = settings(few, max_examples=400)


@many
@given(words_and_text(), st.data())
def test_the_first_stop_word_is_found_and_nothing_waits_longer_than_it_must(drawn, data):
    words, text = drawn
    matcher, fed, shown = StopMatcher(words), "", ""
    for piece in cut(data, text):
        fed += piece
        shown += matcher.feed(piece)
        if matcher.found:
            break
        assert shown == fed[: len(fed) - undecided(words, fed)]
    assert matcher.found == expected(words, text)[1]
    assert shown + matcher.flush() == expected(words, text)[0]
    assert matcher.flush() == ""


@few
@given(data=st.data())
def test_a_stop_word_split_over_tokens_and_characters_is_found_with_the_token_that_ends_it(data):
    tokenizer = tokenizer_of("byte level")
    ids = data.draw(any_ids(tokenizer).filter(lambda ids: whole(tokenizer, ids)))
    text = whole(tokenizer, ids)
    begin = data.draw(st.integers(0, len(text) - 1))
    word = text[begin : begin + data.draw(st.integers(1, 20))]
    detokenizer, matcher, shown = Detokenizer(tokenizer), StopMatcher([word]), ""
    for end, token_id in enumerate(ids, 1):
        shown += matcher.feed(detokenizer.feed([token_id]))
        assert matcher.found == (word in Detokenizer(tokenizer).feed(ids[:end]))
        if matcher.found:
            break
    else:
        shown += matcher.feed(detokenizer.flush()) + matcher.flush()
    assert shown == text.partition(word)[0]


@few
@given(st.lists(st.integers(0, 63), min_size=1, max_size=12), st.data())
def test_many_long_stop_words_are_told_apart(lengths, data):
    words = ["ab" * (127 - n) + "c" for n in range(64)]
    text = "".join("ab" * (128 - n) + "d" for n in lengths) + "ab" * data.draw(st.integers(0, 128)) + "c"
    matcher = StopMatcher(words)
    shown = "".join(map(matcher.feed, cut(data, text)))
    assert (shown + matcher.flush(), matcher.found) == expected(words, text)
