# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from llm_ensemble.postprocessing.detokenizer import Detokenizer
from tests.unit.postprocessing import made_tokenizers

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


def test_ids_the_tokenizer_has_no_token_for_are_no_text(byte_tokenizer):
    beyond = byte_tokenizer.get_vocab_size()
    first, second = ids_of(byte_tokenizer, "é")
    detokenizer = Detokenizer(byte_tokenizer)
    assert [detokenizer.feed([i]) for i in (first, beyond, 2**32 - 1, second)] == ["", "", "", "é"]


def test_a_replacement_character_that_is_the_text_does_not_wait(byte_tokenizer):
    detokenizer = Detokenizer(byte_tokenizer)
    assert detokenizer.feed(ids_of(byte_tokenizer, "a\ufffd")) == "a\ufffd"


def test_bytes_that_can_become_no_character_do_not_wait(byte_tokenizer):
    detokenizer = Detokenizer(byte_tokenizer)
    incomplete, letter = ids_of(byte_tokenizer, "日")[:2], ids_of(byte_tokenizer, "a")
    assert [detokenizer.feed([i]) for i in [*incomplete, *letter]] == ["", "", "\ufffda"]


def byte_tokens(tokenizer, data):
    return [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in data]


def test_byte_tokens_wait_for_the_end_of_their_run():
    tokenizer = made_tokenizers.gemma()
    the = tokenizer.token_to_id("t")
    detokenizer = Detokenizer(tokenizer)
    ids = [*byte_tokens(tokenizer, "日".encode()), the]
    assert [detokenizer.feed([i]) for i in ids] == ["", "", "", "日t"]


def test_one_bad_byte_spoils_its_whole_run_as_it_does_in_the_whole_decode():
    tokenizer = made_tokenizers.gemma()
    ids = byte_tokens(tokenizer, "日".encode() + b"\xffa")
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.feed([i]) for i in ids] == ["", "", "", "\ufffd" * 4, "\ufffd"]
    assert detokenizer.flush() == ""
    assert tokenizer.decode(ids) == "\ufffd" * 5
