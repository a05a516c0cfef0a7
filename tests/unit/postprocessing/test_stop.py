# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from llm_ensemble.postprocessing.stop import StopMatcher


def shown(words, pieces):
    matcher = StopMatcher(words)
    text = ""
    for piece in pieces:
        text += matcher.feed(piece)
        if matcher.found:
            return text, True
    return text + matcher.flush(), matcher.found


def test_nothing_of_a_stop_string_and_nothing_after_it_is_shown():
    assert shown(["END"], ["one EN", "D two"]) == ("one ", True)


def test_a_beginning_that_leads_nowhere_is_shown_in_the_end():
    assert shown(["END"], ["one E", "N"]) == ("one EN", False)


def test_a_possible_beginning_is_held_back_and_no_more_than_that():
    matcher = StopMatcher(["END"])
    assert matcher.feed("the E") == "the "
    assert matcher.feed("E") == "E"
    assert matcher.feed("x") == "Ex"


def test_an_empty_stop_string_is_harmless():
    assert shown([""], ["abc"]) == ("abc", False)


def test_a_stop_string_at_the_very_start_leaves_nothing():
    assert shown(["abc"], ["abcdef"]) == ("", True)


@pytest.mark.parametrize("words", [["c", "bcd"], ["bcd", "c"]])
def test_the_stop_string_that_is_complete_first_wins(words):
    assert shown(words, ["abcd"]) == ("ab", True)


def test_of_two_that_end_together_the_longer_wins():
    assert shown(["cd", "bcd"], ["abcd"]) == ("a", True)


def test_the_answer_does_not_depend_on_how_the_text_is_cut():
    draw = random.Random(7)
    for _ in range(2000):
        text = "".join(draw.choice("abé") for _ in range(12))
        words = ["".join(draw.choice("abé") for _ in range(draw.randint(1, 4))) for _ in range(2)]
        cuts = sorted(draw.sample(range(13), 3))
        pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, 12])]
        assert shown(words, pieces) == shown(words, [text]) == shown(words, list(text))
