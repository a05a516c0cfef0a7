# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in of a server with OpenAI's completions API, as `vllm serve` answers: no model behind it.

    python -m tests.fakes.openai_server          prints its port, serves until it is ended

It refuses what vLLM would not know, and puts several tokens into an event, as a server that lags does. A
prompt of one of the words in TROUBLE gets that instead of an answer.
"""

import asyncio
import json
import sys

from aiohttp import web

MODEL = "stand-in"
TOKENS_PER_EVENT = 3
FIELDS = {
    "model": str,
    "prompt": str,
    "max_tokens": int,
    "temperature": (int, float),
    "ignore_eos": bool,
    "stream": bool,
    "stream_options": dict,
}
TROUBLE = ("torn", "failed", "uncounted")


def problem(body):
    """Return what is wrong with a request; "" for nothing."""
    for name, value in body.items():
        if name not in FIELDS:
            return f"unknown field {name}"
        if not isinstance(value, FIELDS[name]) or (FIELDS[name] is int and isinstance(value, bool)):
            return f"{name} is of the wrong type"
    if missing := {"model", "prompt", "max_tokens"} - set(body):
        return f"{missing} is missing"
    if "stream_options" in body and not (
        body.get("stream") and set(body["stream_options"]) == {"include_usage"}
    ):
        return "stream_options is for streams, and has include_usage"
    return ""


async def models(request):
    return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


async def completions(request):
    body = await request.json()
    if body.get("model") != MODEL:
        return web.json_response({"error": {"message": "The model does not exist", "code": 404}}, status=404)
    if wrong := problem(body):
        return web.json_response({"error": {"message": wrong, "code": 400}}, status=400)
    tokens = body["max_tokens"]  # its text has no end: it counts on ignore_eos
    assert body["ignore_eos"]
    usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": tokens}
    usage["total_tokens"] = sum(usage.values())
    if not body.get("stream"):
        choice = {"index": 0, "text": "a " * tokens, "logprobs": None, "finish_reason": "length"}
        return web.json_response(completion([choice], usage))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await events(response, body, usage)
    await response.write_eof()
    return response


async def events(response, body, usage):
    """Write the events of a stream, as vLLM's: choices with "usage": null, one of usage alone, [DONE]."""
    left, trouble = body["max_tokens"], body["prompt"]
    count = 1
    while left:
        count = min(left, count)
        left -= count
        finish = None if left else "length"
        choice = {"index": 0, "text": "a " * count, "logprobs": None, "finish_reason": finish}
        await send(response, completion([choice], None))
        if trouble == "torn":
            return
        if trouble == "failed":
            await send(response, {"error": {"message": "EngineCore died", "code": 500}})
        count = TOKENS_PER_EVENT
        await asyncio.sleep(0.005)
    if body.get("stream_options", {}).get("include_usage") and trouble != "uncounted":
        await send(response, completion([], usage))
    await response.write(b"data: [DONE]\n\n")


def completion(choices, usage):
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": MODEL,
        "choices": choices,
        "usage": usage,
    }


async def send(response, event):
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


async def serve():
    application = web.Application()
    application.router.add_get("/v1/models", models)
    application.router.add_post("/v1/completions", completions)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
