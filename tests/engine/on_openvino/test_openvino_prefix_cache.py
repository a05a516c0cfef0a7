# SPDX-License-Identifier: Apache-2.0
"""Prompts that begin with an earlier one, which OpenVINO GenAI's prefix cache mixes up if they run together.

engines/openvino/prefix_gate.py says how. Without it every trial of every test here had wrong tokens.
"""

import queue
import random

import pytest

from tests.engine.on_openvino.test_openvino import replace_step
from tests.engine.submitted import Submitted, changed
from tests.waiting import SECONDS

TRIALS = 3
BLOCK = 32
EARLIER = 6  # tokens of the earlier prompt


class Steps:
    """An engine whose steps wait for the test."""

    def __init__(self, engine, monkeypatch):
        self._engine, self._number = engine, 0
        self._begun, self._let, step = queue.Queue(), queue.Queue(), engine._lanes.base._pipeline.step
        replace_step(
            engine, monkeypatch, lambda: (self._begun.put(1), self._let.get(timeout=SECONDS), step())
        )

    def tokens(self, *at_each_step, max_tokens=20):
        """Return the tokens of prompts, of which a list is submitted before each of the first steps."""
        submitted = [self._submit([0, 999], max_tokens)]  # makes the engine step, and is in none of them
        for prompts in at_each_step:
            self._begun.get(timeout=SECONDS)
            submitted += [self._submit(prompt, max_tokens) for prompt in prompts]
            self._let.put(1)
        for _ in range(200):  # more than they take
            self._let.put(1)
        tokens = [one.ids() for one in submitted]
        for left in (self._begun, self._let):
            while not left.empty():
                left.get()
        return tokens[1:]

    def _submit(self, prompt, max_tokens):
        self._number += 1
        return Submitted(self._engine, self._number, prompt, max_tokens=max_tokens)


@pytest.fixture
def alone(start):
    """Return the tokens of prompts, each of which runs alone."""
    engine = start()
    return lambda prompts: [Submitted(engine, 1, prompt).ids() for prompt in prompts]


def drawn(draw, tokens):
    return [draw.randrange(300, 3000) for _ in range(tokens)]


@pytest.mark.parametrize(
    ("lengths", "steps"),
    [
        pytest.param([9, 12], [[0, 1]], id="in the same step"),
        pytest.param([BLOCK, 12], [[0], [1], [0]], id="the next a step later, the first fills its block"),
    ],
)
def test_two_prompts_that_begin_with_an_earlier_one(start, monkeypatch, alone, lengths, steps):
    draw, engine = random.Random(1), Steps(start(), monkeypatch)
    for _ in range(TRIALS):
        earlier = [0, *drawn(draw, EARLIER - 1)]
        prompts = [earlier + drawn(draw, length - EARLIER) for length in lengths]
        engine.tokens([earlier], max_tokens=1)
        asked = [[prompts[i] for i in together] for together in steps]
        assert engine.tokens(*asked) == alone([prompts[i] for together in steps for i in together])


@pytest.mark.parametrize("order", [1, -1])
def test_a_prompt_two_that_begin_with_it_and_one_of_these_begins_the_other(start, monkeypatch, alone, order):
    draw, engine = random.Random(2), Steps(start(), monkeypatch)
    for _ in range(TRIALS):
        earlier = [0, *drawn(draw, EARLIER - 1)]
        short = earlier + drawn(draw, 9)
        prompts = [short, short + drawn(draw, 9)][::order]
        engine.tokens([earlier], max_tokens=1)
        assert engine.tokens(prompts) == alone(prompts)


def test_prompts_that_begin_with_a_running_request(start, monkeypatch, alone):
    """Its block can be found between its prefill and its next token, and then under its prompt and tokens."""
    draw, engine = random.Random(3), Steps(start(), monkeypatch)
    for tokens in range(TRIALS):
        running = [0, *drawn(draw, EARLIER - 1)]
        (generated,) = alone([running])
        prompts = [running + generated[:tokens] + drawn(draw, 3) for _ in range(2)]
        asked = [[running], *[[]] * tokens, prompts]
        assert engine.tokens(*asked) == alone([running, *prompts])


def test_a_prompt_that_begins_with_one_in_prefill(start, manifest, monkeypatch, alone):
    """The prefill sets to zero what it leaves free in its last block."""
    small_steps = changed(manifest, limits=changed(manifest.limits, max_num_tokens=17))
    draw, engine = random.Random(4), Steps(start(small_steps), monkeypatch)
    for _ in range(TRIALS):
        first = [0, *drawn(draw, 50)]
        longer = first + drawn(draw, 5)
        assert engine.tokens([first], [], [], [longer]) == alone([first, longer])
