# SPDX-License-Identifier: Apache-2.0
"""LangChain's ChatOpenAI and OpenAI. Prints what came of each way to ask as JSON."""

import asyncio
import json
import sys

import openai
from langchain_openai import ChatOpenAI, OpenAI

URL, MODEL, PROMPT, CONTENT = sys.argv[1:]
OPTIONS = {"base_url": URL, "api_key": "none", "model": MODEL, "temperature": 0, "max_tokens": 12}

SCHEMA = {
    "type": "object",
    "title": "Sure",
    "properties": {"sure": {"type": "boolean"}},
    "required": ["sure"],
    "additionalProperties": False,
}


async def chats(chat):
    streamed = [piece.text async for piece in chat.astream(CONTENT)]
    return [
        (await chat.ainvoke(CONTENT)).text,
        "".join(streamed),
        *{m.text for m in await chat.abatch([CONTENT] * 5)},
    ]


async def texts(llm):
    streamed = [piece async for piece in llm.astream(PROMPT)]
    return [await llm.ainvoke(PROMPT), "".join(streamed)]


def refused(chat):
    """Ask for tools, which the demo model's template does not read."""
    try:
        chat.bind_tools([{"type": "function", "function": {"name": "f"}}]).invoke(CONTENT)
    except openai.BadRequestError as error:
        return error.param


def main():
    chat, llm = ChatOpenAI(**OPTIONS), OpenAI(**OPTIONS)
    longer = ChatOpenAI(**{**OPTIONS, "max_tokens": 100})
    answer = chat.invoke([("user", CONTENT)])
    chunks = [*chat.stream(CONTENT, stream_usage=True)]
    conversation = [("system", "Be brief."), ("user", CONTENT), ("ai", "Click."), ("user", "Where?")]
    history = [("user", CONTENT), answer, ("user", "Where?")]
    scored = chat.bind(logprobs=True).invoke(CONTENT).response_metadata["logprobs"]["content"]
    told = {
        "chat": [
            answer.text,
            "".join(piece.text for piece in chunks),
            *(m.text for m in chat.batch([CONTENT] * 2)),
        ],
        "chat async": asyncio.run(chats(chat)),
        "usage": [
            answer.usage_metadata["output_tokens"],
            sum((c.usage_metadata or {}).get("output_tokens", 0) for c in chunks),
        ],
        "finish": answer.response_metadata["finish_reason"],
        "conversation": chat.invoke(conversation).text,
        "history": chat.invoke(history).text,
        "scored": "".join(token["token"] for token in scored),
        "text": [llm.invoke(PROMPT), "".join(llm.stream(PROMPT)), *llm.batch([PROMPT] * 2)],
        "text async": asyncio.run(texts(llm)),
        "structured": sorted(
            longer.with_structured_output(SCHEMA, method="json_schema", strict=True).invoke(CONTENT)
        ),
        "refused": refused(chat),
    }
    sys.stdout.write(json.dumps(told))


main()
