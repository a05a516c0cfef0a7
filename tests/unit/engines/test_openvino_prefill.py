# SPDX-License-Identifier: Apache-2.0

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.openvino.prefill import PrefillTracker
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.engines.scheduler import ActiveRequest


def active(number, tokens):
    return ActiveRequest(GenerationRequest(number, [1] * tokens, Sampling(max_tokens=1)), print)


def incomplete(prefill, requests):
    return [one.request.stream_id for one in requests if prefill.is_incomplete(one)]


def test_prompts_are_computed_in_their_order_by_the_tokens_that_running_sequences_leave():
    prefill, requests = PrefillTracker(tokens_per_step=20), [active(1, 25), active(2, 5), active(3, 16)]
    for one in requests:
        prefill.add(one)
    seen = []
    for _ in range(5):
        prefill.step(running=10)
        seen.append(incomplete(prefill, requests))
    assert seen == [[1, 2, 3], [1, 2, 3], [3], [3], []]


def test_while_running_sequences_take_all_tokens_no_prefill_goes_on():
    prefill, one = PrefillTracker(tokens_per_step=8), active(1, 4)
    prefill.add(one)
    for _ in range(10):
        prefill.step(running=9)
    assert prefill.is_incomplete(one)


def test_a_request_that_has_generated_a_token_takes_no_more_prefill_tokens():
    prefill, requests = PrefillTracker(tokens_per_step=10), [active(1, 100), active(2, 9)]
    for one in requests:
        prefill.add(one)
    prefill.remove(requests[0])
    prefill.remove(requests[0])
    prefill.step(running=1)
    assert incomplete(prefill, requests) == []
