# SPDX-License-Identifier: Apache-2.0
"""LlamaIndex's OpenAILike, for a chat and for a completion model. Prints what came of each way as JSON."""

import asyncio
import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

URL, MODEL, PROMPT, CONTENT = sys.argv[1:]
OPTIONS = {"api_base": URL, "api_key": "none", "model": MODEL, "temperature": 0, "max_tokens": 12}
MESSAGES = [ChatMessage(role="user", content=CONTENT)]
NEXT = ChatMessage(role="user", content="Where?")


def joined(pieces):
    return "".join(piece.delta or "" for piece in pieces)


async def chats(llm):
    pieces = [piece async for piece in await llm.astream_chat(MESSAGES)]
    return [(await llm.achat(MESSAGES)).message.content, joined(pieces)]


async def texts(llm):
    pieces = [piece async for piece in await llm.astream_complete(PROMPT)]
    return [(await llm.acomplete(PROMPT)).text, joined(pieces)]


def main():
    chat = OpenAILike(**OPTIONS, is_chat_model=True)
    llm = OpenAILike(**OPTIONS, is_chat_model=False)
    told = {
        "chat": [
            chat.chat(MESSAGES).message.content,
            joined(chat.stream_chat(MESSAGES)),
            chat.complete(CONTENT).text,
        ],
        "history": chat.chat([*MESSAGES, chat.chat(MESSAGES).message, NEXT]).message.content,
        "chat async": asyncio.run(chats(chat)),
        "text": [llm.complete(PROMPT).text, joined(llm.stream_complete(PROMPT))],
        "text async": asyncio.run(texts(llm)),
    }
    sys.stdout.write(json.dumps(told))


main()
