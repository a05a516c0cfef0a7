# SPDX-License-Identifier: Apache-2.0
"""A request's outputs, taken from vLLM's output handler directly or, where it cannot be, by generate().

AsyncLLM.generate() runs a task for each request, which the output handler wakes for each token: 24,300 tokens
a second instead of 34,100, in a trial with 256 streams on an H100. add_request(), on which it rests, returns
the collector that wakes the task. Its put() is replaced here by a function that takes the output itself.

Most tokens are plain: neither a request's first nor a sequence's last, and without a log probability. vLLM's
output processor would wrap each in two objects and count it in statistics that nobody reads. So plain tokens
do not pass through it: they are taken from the engine core's outputs, a step's all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

OnOutput = Callable[[Any], None]  # a RequestOutput, or the exception that ends the request
PlainToken = tuple[Any, int, list[int]]  # the key of a request, a sequence's index, its token ids
OnPlainTokens = Callable[[Iterable[PlainToken]], None]

COLLECTOR = {"put", "get_nowait"}
STATE = {"queue", "request_index", "is_prefilling"}
OUTPUT = {"request_id", "new_token_ids", "finish_reason"}


def has_direct_sink(llm: Any) -> bool:
    """Return whether this version of vLLM has what this module uses, by name."""
    try:
        from vllm.v1.engine import EngineCoreOutput
        from vllm.v1.engine.output_processor import RequestOutputCollector, RequestState
    except ImportError:
        return False
    processor = getattr(llm, "output_processor", None)
    return (
        hasattr(llm, "add_request")
        and hasattr(processor, "process_outputs")
        and hasattr(processor, "request_states")
        and set(dir(RequestOutputCollector)) >= COLLECTOR
        and set(RequestState.__init__.__code__.co_names) >= STATE  # the attributes that it sets
        and set(EngineCoreOutput.__struct_fields__) >= OUTPUT
    )


def take_plain_tokens(llm: Any, on_plain_tokens: OnPlainTokens) -> None:
    """Call on_plain_tokens once a step, in the loop's thread, with the plain tokens of keyed requests.

    The rest goes the way of vLLM's, without its statistics of requests and tokens, for which it has no None.
    """
    process, states = llm.output_processor.process_outputs, llm.output_processor.request_states

    def plain_tokens(outputs: Iterable[Any], others: list[Any]) -> Iterator[PlainToken]:
        for output in outputs:
            state = states.get(output.request_id)
            if state is None:  # aborted
                continue
            key = getattr(state.queue, "key", None)
            if key is None or state.is_prefilling or output.finish_reason is not None:
                others.append(output)
            else:
                yield key, state.request_index, output.new_token_ids

    def process_outputs(outputs: Iterable[Any], *_: Any, **__: Any) -> Any:
        others: list[Any] = []
        on_plain_tokens(plain_tokens(outputs, others))
        return process(others)

    llm.output_processor.process_outputs = process_outputs


async def take_outputs(
    llm: Any,
    prompt: Any,
    params: Any,
    request_id: str,
    on_output: OnOutput,
    *,
    direct: bool,
    key: Any = None,
    lora: Any = None,
) -> None:
    """Submit a request; call on_output in the loop's thread with its outputs, its plain tokens excepted.

    direct: return once it is submitted, as has_direct_sink allows; otherwise after its end.
    key: of its plain tokens (take_plain_tokens); without one, on_output gets them too. lora: a LoRARequest.
    """
    if not direct:
        async for output in llm.generate(prompt, params, request_id, lora_request=lora):
            on_output(output)
        return
    collector = await llm.add_request(request_id, prompt, params, lora_request=lora)
    collector.put = on_output
    # Outputs that came while add_request was awaited; the handler runs in this same thread.
    if (output := collector.get_nowait()) is not None:
        on_output(output)
    collector.key = key
