# SPDX-License-Identifier: Apache-2.0
"""The page's own server with an API behind it that says what a test wants: what no model says to order."""

import asyncio
import base64
import collections
import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from llm_ensemble.manifest import Limits
from openai_frontend.page.page import page_routes

LIMITS = Limits(max_batch_size=8, max_input_len=400, max_seq_len=512, max_num_tokens=512)


@dataclass
class Script:
    """What the server does with the next requests, and what it was asked.

    after: what ends the stream: "done", "error" (an error event), or "cut" (nothing: the connection ends)
    """

    texts: list = field(default_factory=lambda: ["All", " is", " well."])
    seconds: float = 0.0  # before each text
    status: int = 200
    headers: dict = field(default_factory=dict)
    message: str = ""
    after: str = "done"
    finish_reason: str = "stop"
    bytes_at_once: int = 0  # of the stream; 0: an event at a time
    asked: list = field(default_factory=list)  # bodies
    left: list = field(default_factory=list)  # bodies of those whose client went away
    paths: collections.Counter = field(default_factory=collections.Counter)

    key: str = ""  # wanted as the password of HTTP Basic
    names: tuple = ("scripted/model",)
    has_chat_template: bool = True
    limits: Limits = LIMITS


def error_body(message):
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def event(content):
    return f"data: {content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)}\n\n"


async def events(script, body):
    is_chat = "messages" in body
    try:
        if is_chat:
            yield event(
                {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None}
            )
        yield ": still here\n\n"
        for text in script.texts:
            await asyncio.sleep(script.seconds)
            choice = {"delta": {"content": text}} if is_chat else {"text": text}
            yield event({"choices": [{"index": 0, **choice, "finish_reason": None}], "usage": None})
    except asyncio.CancelledError:
        script.left.append(body)
        raise
    if script.after == "cut":
        return
    if script.after == "error":
        yield event(error_body(script.message))
        return
    choice = {"delta": {}} if is_chat else {"text": ""}
    yield event({"choices": [{"index": 0, **choice, "finish_reason": script.finish_reason}], "usage": None})
    count = len(script.texts)
    yield event(
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": count + 3}}
    )
    yield event("[DONE]")


async def in_pieces(stream, size):
    """Cut a stream into packets of so many bytes."""
    content = "".join([event async for event in stream]).encode()
    for at in range(0, len(content), size):
        yield content[at : at + size]
        await asyncio.sleep(0.005)  # or they would arrive together


def make_app(script, metrics_url=None):
    app = FastAPI()
    app.include_router(page_routes(script, metrics_url))

    @app.middleware("http")
    async def count(request: Request, call_next):
        script.paths[request.url.path] += 1
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if script.key and base64.b64decode(given).decode().partition(":")[2] != script.key:
            return JSONResponse(error_body("No key"), 401, headers={"WWW-Authenticate": 'Basic realm="key"'})
        return await call_next(request)

    @app.post("/v1/chat/completions")
    @app.post("/v1/completions")
    async def generate(request: Request):
        body = await request.json()
        script.asked.append(body)
        if script.status != 200:
            return JSONResponse(error_body(script.message), script.status, headers=script.headers)
        stream = events(script, body)
        if script.bytes_at_once:
            stream = in_pieces(stream, script.bytes_at_once)
        return StreamingResponse(stream, media_type="text/event-stream")

    @app.post("/tokenize")
    async def tokenize(request: Request):
        return {"count": len((await request.json())["prompt"].split())}

    return app


@contextlib.contextmanager
def serving(app):
    """Serve an app on a free port of 127.0.0.1, in a thread; return its address, and what ends it."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()

    def stop():
        server.should_exit = True
        thread.join()
        listening.close()

    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", stop
    finally:
        stop()
