# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from llm_ensemble.detokenizer import Detokenizer

TEXTS = ["plain words", "naïve café", "日本語のテキスト", "👩‍👩‍👧 family", "été", "שלום", "a\n\n  b"]


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_joined_are_the_whole_decode_however_the_ids_are_cut(byte_tokenizer, text):
    draw = random.Random(text)
    ids = ids_of(byte_tokenizer, text)
    for _ in range(20):
        detokenizer, pieces, rest = Detokenizer(byte_tokenizer), [], ids
        while rest:
            n = draw.randint(1, 4)
            pieces.append(detokenizer.feed(rest[:n]))
            rest = rest[n:]
        assert "".join(pieces) + detokenizer.flush() == text


def test_an_incomplete_character_is_held_back(byte_tokenizer):
    detokenizer = Detokenizer(byte_tokenizer)
    assert [detokenizer.feed([i]) for i in ids_of(byte_tokenizer, "日")] == ["", "", "日"]


def test_a_stream_that_ends_inside_a_character_flushes_what_the_whole_decode_shows(byte_tokenizer):
    ids = ids_of(byte_tokenizer, "a日b日")[:-1]
    detokenizer = Detokenizer(byte_tokenizer)
    text = "".join(detokenizer.feed([i]) for i in ids)
    assert text == "a日b"
    assert text + detokenizer.flush() == byte_tokenizer.decode(ids)


def test_special_tokens_are_no_text(byte_tokenizer):
    detokenizer = Detokenizer(byte_tokenizer)
    special = byte_tokenizer.token_to_id("</s>")
    ids = ids_of(byte_tokenizer, "ab")
    assert detokenizer.feed([special, ids[0], special, ids[1]]) + detokenizer.flush() == "ab"
