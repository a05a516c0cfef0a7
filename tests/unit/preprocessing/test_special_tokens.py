# SPDX-License-Identifier: Apache-2.0
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from llm_ensemble.preprocessing.special_tokens import PromptTokenizer, Special, surroundings
from tests.unit.postprocessing.made_tokenizers import MADE

BOS, EOS, MORE = "<BOS>", "<EOS>", "<MORE>"
PLACES = {  # what the post-processor puts before and after a text
    "nothing": ([], []),
    "before": ([BOS], []),
    "after": ([], [EOS]),
    "both": ([BOS], [EOS]),
    "the same on both sides": ([BOS], [BOS]),
    "two before": ([BOS, MORE], [EOS]),
}
TEXTS = ["the lazy dog", "a", " spaces first", "dog" + BOS, "1" + BOS + "2"]


def with_special_tokens(tokenizer, before, after):
    tokenizer.add_special_tokens([BOS, EOS, MORE])
    known = {token: tokenizer.token_to_id(token) for token in (BOS, EOS, MORE)}
    around = processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=[*known.items()])
    tokenizer.post_processor = around
    return [known[token] for token in before], [known[token] for token in after]


def ids(tokenizer, text, special):
    (only,) = PromptTokenizer(tokenizer).encode([text], [special])
    return only


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", MADE)
def test_a_text_that_begins_with_what_comes_before_it_gets_no_second_one(name, place):
    tokenizer = MADE[name]()
    before, after = with_special_tokens(tokenizer, *PLACES[place])
    assert surroundings(tokenizer) == (before, after)
    for text in TEXTS:
        own = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids(tokenizer, text, Special.ONCE) == [*before, *own, *after]
        assert ids(tokenizer, text, Special.ALL) == [*before, *own, *after]
        assert ids(tokenizer, text, Special.NONE) == own
        begun = "".join(PLACES[place][0]) + text
        own = tokenizer.encode(begun, add_special_tokens=False).ids
        assert own[: len(before)] == before
        assert ids(tokenizer, begun, Special.ONCE) == [*own, *after]
        assert ids(tokenizer, begun, Special.ALL) == [*before, *own, *after]
        assert ids(tokenizer, begun, Special.NONE) == own


def test_two_that_the_client_wrote_stay_two(byte_tokenizer):
    twice = byte_tokenizer.encode("</s></s>a", add_special_tokens=False).ids
    assert ids(byte_tokenizer, "</s></s>a", Special.ONCE) == twice
    assert ids(byte_tokenizer, "</s>", Special.ONCE) == twice[:1]


def test_a_beginning_of_which_a_part_alone_is_there_is_put_before_the_text():
    tokenizer = MADE["byte level"]()
    before, _ = with_special_tokens(tokenizer, [BOS, MORE], [])
    assert ids(tokenizer, BOS + "a", Special.ONCE)[:3] == [*before, before[0]]


def test_spaces_that_the_token_takes_in_do_not_hide_it():
    tokenizer = MADE["byte level"]()
    before, _ = with_special_tokens(tokenizer, [BOS], [])
    tokenizer.add_special_tokens([AddedToken(BOS, lstrip=True)])
    assert ids(tokenizer, f" \n{BOS}a", Special.ONCE) == ids(tokenizer, BOS + "a", Special.NONE)
    assert ids(tokenizer, f" \n{BOS}a", Special.ONCE)[:1] == before


def test_a_text_that_only_looks_like_the_token_is_not_taken_for_it():
    """Here BOS is no added token, so its letters are a text like any other."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, BOS: 1, "<": 2, "BOS": 3, ">": 4}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    assert ids(tokenizer, BOS + "a", Special.ONCE) == [1, 2, 3, 4, 0]


def test_a_tokenizer_that_knows_no_probe_is_tried_with_its_own_vocabulary():
    """Llama's <unk> could be its <s>: what an unknown word becomes does not show where it ends."""
    tokenizer = Tokenizer(models.WordLevel({BOS: 0, "日": 1}, unk_token=BOS))
    tokenizer.add_special_tokens([BOS])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    assert surroundings(tokenizer) == ([0], [])
    nothing_else = Tokenizer(models.WordLevel({BOS: 0}, unk_token=BOS))
    nothing_else.post_processor = tokenizer.post_processor
    assert surroundings(nothing_else) == ([], [])


def test_texts_with_different_wishes_keep_their_places(byte_tokenizer):
    wishes = [Special.NONE, Special.ALL, Special.ONCE, Special.NONE, Special.ONCE]
    texts = ["a", "</s>b", "</s>c", "</s>d", "e"]
    together = PromptTokenizer(byte_tokenizer).encode(texts, wishes)
    alone = [ids(byte_tokenizer, text, wish) for text, wish in zip(texts, wishes, strict=True)]
    assert together == alone
    assert [len(one) for one in together] == [1, 3, 2, 2, 2]
