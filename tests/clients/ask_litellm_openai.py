# SPDX-License-Identifier: Apache-2.0
"""litellm's providers openai and text-completion-openai. Prints what came of each way to ask as JSON."""

import asyncio
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a list of prices
import litellm

URL, MODEL, PROMPT, CONTENT = sys.argv[1:]
ASKED = {"api_base": URL, "api_key": "none", "temperature": 0, "max_tokens": 12}
CHAT = {**ASKED, "model": f"openai/{MODEL}", "messages": [{"role": "user", "content": CONTENT}]}
TEXT = {**ASKED, "model": f"text-completion-openai/{MODEL}", "prompt": PROMPT}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def joined(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def text_joined(chunks):
    return "".join(choice.text or "" for chunk in chunks for choice in chunk.choices)


async def chats():
    chunks = [chunk async for chunk in await litellm.acompletion(**CHAT, stream=True)]
    return [(await litellm.acompletion(**CHAT)).choices[0].message.content, joined(chunks)]


async def texts():
    chunks = [chunk async for chunk in await litellm.atext_completion(**TEXT, stream=True)]
    return [(await litellm.atext_completion(**TEXT)).choices[0].text, text_joined(chunks)]


def raised(**asked):
    try:
        litellm.completion(**{**CHAT, **asked})
    except litellm.exceptions.APIError as error:
        return f"{type(error).__name__} {error.status_code}"
    except (litellm.BadRequestError, litellm.NotFoundError) as error:
        return f"{type(error).__name__} {error.status_code}"


def main():
    answer = litellm.completion(**CHAT)
    chunks = [*litellm.completion(**CHAT, **USAGE)]
    message = answer.choices[0].message.model_dump()  # with keys of its own
    history = [*CHAT["messages"], message, {"role": "user", "content": "Where?"}]
    told = {
        "chat": [answer.choices[0].message.content, joined(chunks)],
        "history": litellm.completion(**{**CHAT, "messages": history}).choices[0].message.content,
        "chat async": asyncio.run(chats()),
        "usage": [answer.usage.completion_tokens, chunks[-1].usage.completion_tokens],
        "text": [
            litellm.text_completion(**TEXT).choices[0].text,
            text_joined(litellm.text_completion(**TEXT, stream=True)),
        ],
        "text async": asyncio.run(texts()),
        "refused": raised(temperature=-1),
        "no such model": raised(model="openai/gpt-x"),
    }
    sys.stdout.write(json.dumps(told))


main()
