# SPDX-License-Identifier: Apache-2.0


from llm_ensemble.engines.admission import Entry
from llm_ensemble.engines.base import GenerationRequest
from llm_ensemble.engines.openvino_prompts import UnreadPrompts
from llm_ensemble.sampling import Sampling


def entry(number, tokens):
    return Entry(GenerationRequest(number, [1] * tokens, Sampling(max_tokens=1)), print)


def unread(prompts, entries):
    return [one.request.number for one in entries if prompts.has(one)]


def test_prompts_are_read_in_their_order_by_what_running_sequences_leave():
    prompts, entries = UnreadPrompts(tokens_a_step=20), [entry(1, 25), entry(2, 5), entry(3, 16)]
    for one in entries:
        prompts.add(one)
    seen = []
    for _ in range(5):
        prompts.step(running=10)
        seen.append(unread(prompts, entries))
    assert seen == [[1, 2, 3], [1, 2, 3], [3], [3], []]


def test_while_running_sequences_take_all_nothing_counts_as_read():
    prompts, one = UnreadPrompts(tokens_a_step=8), entry(1, 4)
    prompts.add(one)
    for _ in range(10):
        prompts.step(running=9)
    assert prompts.has(one)


def test_who_has_given_a_token_has_been_read_and_is_in_nobody_s_way():
    prompts, entries = UnreadPrompts(tokens_a_step=10), [entry(1, 100), entry(2, 9)]
    for one in entries:
        prompts.add(one)
    prompts.remove(entries[0])
    prompts.remove(entries[0])
    prompts.step(running=1)
    assert unread(prompts, entries) == []
