# SPDX-License-Identifier: Apache-2.0
"""Requests to an LLM of tensorrt_llm, each with a new event loop."""

import asyncio

PROMPT = [0, 300, 400, 500, 600]


def finish(llm, params, prompt=PROMPT, **options):
    async def run():
        return await llm.generate_async(prompt, params, **options)

    return asyncio.run(run())


def stream(llm, params, prompt=PROMPT, at_step=lambda number, output: None):
    """Return the ids so far at each step, and the output."""

    async def run():
        seen, output = [], llm.generate_async(prompt, params, streaming=True)
        async for step in output:
            assert step is output
            seen.append(list(step.outputs[0].token_ids))
            at_step(len(seen), output)
        return seen, output

    return asyncio.run(run())
