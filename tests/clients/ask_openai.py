# SPDX-License-Identifier: Apache-2.0
"""OpenAI's client, of whichever version, in its ways to ask. Prints what came of each as JSON."""

import asyncio
import json
import sys

import openai

URL, MODEL, PROMPT, CONTENT = sys.argv[1:]
MESSAGES = [{"role": "user", "content": CONTENT}]
NEXT = {"role": "user", "content": "Where?"}
ASKED = {"model": MODEL, "temperature": 0, "max_tokens": 12}
TEXT = {**ASKED, "prompt": PROMPT}
CHAT = {**ASKED, "messages": MESSAGES}
STOP = {"stop": ["image"]}  # the helper raises for a text that its limit has ended
USAGE = {"stream_options": {"include_usage": True}}
WRONG = {
    "value": {**CHAT, "temperature": -1},
    "format": {**CHAT, "response_format": {"type": "xml"}},
    "tools": {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]},
    "stream": {**CHAT, "n": 99, "stream": True},
    "model": {**CHAT, "model": "gpt-4"},
    "unknown field": {**CHAT, "extra_body": {"topk": 5}},
}
OPTIONS = {"base_url": URL, "api_key": "none", "max_retries": 0}


def joined(chunks):
    return "".join(choice.text for chunk in chunks for choice in chunk.choices)


def chat_joined(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def raised(error):
    return [type(error).__name__, error.status_code, error.param, error.code, error.type]


def helped(client):
    """The helper that puts the events of a stream together."""
    with client.chat.completions.stream(**CHAT, **STOP, **USAGE) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
        whole = stream.get_final_completion()
    return {
        "deltas": deltas,
        "whole": whole.choices[0].message.content,
        "reason": whole.choices[0].finish_reason,
        "tokens": whole.usage.completion_tokens,
    }


def bodies(client):
    """Answers as they come over the line."""
    with client.completions.with_streaming_response.create(**TEXT, stream=True) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    with client.chat.completions.with_streaming_response.create(**CHAT) as answer:
        content = json.loads(b"".join(answer.iter_bytes()))
    raw = client.chat.completions.with_raw_response.create(**CHAT, extra_headers={"X-Request-Id": "mine"})
    return {
        "lines": "".join(json.loads(line)["choices"][0]["text"] for line in lines if line != "[DONE]"),
        "last line": lines[-1],
        "content": content["choices"][0]["message"]["content"],
        "request id": [raw.headers["x-request-id"], raw.parse()._request_id],
    }


def history(client):
    """Go on with the answer as the client gave it, as an object and as what it holds."""
    answer = client.chat.completions.create(**CHAT).choices[0].message
    return [
        client.chat.completions.create(**ASKED, messages=[*MESSAGES, before, NEXT]).choices[0].message.content
        for before in (answer, answer.model_dump())
    ]


def forms(client):
    """What completions have that chats do not."""
    scored = client.completions.create(**TEXT, logprobs=0).choices[0]
    several = client.completions.create(**{**TEXT, "prompt": [PROMPT, CONTENT]}, n=1).choices
    two = client.completions.create(**{**TEXT, "temperature": 1}, n=2, seed=5).choices
    chat_scored = client.chat.completions.create(**CHAT, logprobs=True).choices[0].logprobs.content
    return {
        "echo": client.completions.create(**TEXT, echo=True).choices[0].text,
        "scored": "".join(scored.logprobs.tokens),
        "scores": len([score for score in scored.logprobs.token_logprobs if score <= 0]),
        "chat scored": "".join(token.token for token in chat_scored),
        "several": [choice.text for choice in several],
        "two": [choice.text for choice in two],
    }


def errors(client):
    found = {}
    for name, asked in WRONG.items():
        try:
            client.chat.completions.create(**asked)
        except openai.APIStatusError as error:
            found[name] = [*raised(error), type(error.body).__name__]
    try:
        client.models.retrieve("gpt-4")
    except openai.NotFoundError as error:
        found["retrieve"] = raised(error)
    try:
        client.embeddings.create(model=MODEL, input="x")
    except openai.NotFoundError as error:
        found["embeddings"] = raised(error)
    return found


async def asynchronous():
    async with openai.AsyncOpenAI(**OPTIONS) as client:
        whole = await client.completions.create(**TEXT)
        chunks = [chunk async for chunk in await client.completions.create(**TEXT, stream=True)]
        chat = await client.chat.completions.create(**CHAT)
        chat_chunks = [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True)]
        async with client.chat.completions.stream(**CHAT, **STOP) as stream:
            helped = (await stream.get_final_completion()).choices[0].message.content
        many = await asyncio.gather(*(client.completions.create(**TEXT) for _ in range(20)))
        names = [model.id async for model in client.models.list()]
    return {
        "text": [whole.choices[0].text, joined(chunks), *{answer.choices[0].text for answer in many}],
        "chat": [chat.choices[0].message.content, chat_joined(chat_chunks)],
        "helped": helped,
        "models": names,
    }


def main():
    with openai.OpenAI(**OPTIONS) as client:
        chunks = [*client.chat.completions.create(**CHAT, **USAGE, stream=True)]
        told = {
            "text": [
                client.completions.create(**TEXT).choices[0].text,
                joined(client.completions.create(**TEXT, stream=True)),
            ],
            "chat": [client.chat.completions.create(**CHAT).choices[0].message.content, chat_joined(chunks)],
            "usage": chunks[-1].usage.completion_tokens,
            "helped": helped(client),
            "bodies": bodies(client),
            "history": history(client),
            "forms": forms(client),
            "errors": errors(client),
            "models": [
                [model.id for model in client.models.list()],
                client.models.retrieve(MODEL).id,
            ],
        }
    sys.stdout.write(json.dumps({**told, "asynchronous": asyncio.run(asynchronous())}))


main()
