# SPDX-License-Identifier: Apache-2.0
"""A request's outputs, taken from vLLM's output handler directly or, where it cannot be, by generate().

AsyncLLM.generate() runs a task for each request, which the output handler wakes for each token: 24,300 tokens
a second instead of 34,100, in a trial with 256 streams on an H100. add_request(), on which it rests, returns
the collector that wakes the task. Its put() is replaced here by a function that takes the output itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OnOutput = Callable[[Any], None]  # a RequestOutput, or the exception that ends the request


def has_direct_sink(llm: Any) -> bool:
    """Return whether this version of vLLM has what `take_outputs` needs, by name."""
    try:
        from vllm.v1.engine.output_processor import RequestOutputCollector
    except ImportError:
        return False
    return callable(getattr(llm, "add_request", None)) and all(
        callable(getattr(RequestOutputCollector, name, None)) for name in ("put", "get_nowait")
    )


async def take_outputs(
    llm: Any, prompt: Any, params: Any, request_id: str, on_output: OnOutput, *, direct: bool
) -> None:
    """Submit a request; call on_output in the loop's thread with each of its outputs.

    direct: return once it is submitted, as has_direct_sink allows; otherwise after its end.
    """
    if not direct:
        async for output in llm.generate(prompt, params, request_id):
            on_output(output)
        return
    collector = await llm.add_request(request_id, prompt, params)
    collector.put = on_output
    # Outputs that came while add_request was awaited; the handler runs in this same thread.
    if (output := collector.get_nowait()) is not None:
        on_output(output)
