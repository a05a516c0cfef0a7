# SPDX-License-Identifier: Apache-2.0
"""OpenAI's client where a server is slow or full, or asks for a key.

Says in lines what it does, and waits for a line before it goes on.
"""

import asyncio
import sys
import time

import openai

URL, MODEL, PROMPT, TOLD = sys.argv[1:]
LONG = {"model": MODEL, "prompt": PROMPT, "max_tokens": 400, "extra_body": {"ignore_eos": True}}
OPTIONS = {"base_url": URL, "api_key": "none", "max_retries": 0}


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def wait():
    sys.stdin.readline()


def full():
    """Ask again until there is room; say the status of each time, and how long after the one before."""
    times = []

    def tell(response):
        times.append(time.monotonic())
        say(f"{response.status_code} {times[-1] - times[-2] if times[1:] else 0}")

    transport = openai.DefaultHttpxClient(event_hooks={"response": [tell]})
    with openai.OpenAI(**{**OPTIONS, "max_retries": 100}, http_client=transport) as client:
        answer = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=2, temperature=0)
    say(answer.choices[0].text)


def full_at_once():
    """Ask once."""
    with openai.OpenAI(**OPTIONS) as client:
        try:
            client.completions.create(model=MODEL, prompt=PROMPT)
        except openai.RateLimitError as error:
            say(f"{type(error).__name__} {error.code} {error.response.headers['retry-after']}")


def leave():
    """Close a stream in the middle."""
    with openai.OpenAI(**OPTIONS) as client:
        stream = client.completions.create(**LONG, stream=True)
        next(stream)
        say("reads")
        wait()
        stream.close()
        say("left")


def leave_helper():
    """End the block of the streaming helper in the middle."""
    asked = {name: value for name, value in LONG.items() if name != "prompt"}
    with openai.OpenAI(**OPTIONS) as client:
        messages = [{"role": "user", "content": PROMPT}]
        with client.chat.completions.stream(**asked, messages=messages) as stream:
            next(iter(stream))
            say("reads")
            wait()
        say("left")


def cancel():
    """Cancel the task that waits for a whole answer."""

    async def ask():
        async with openai.AsyncOpenAI(**OPTIONS) as client:
            task = asyncio.create_task(client.completions.create(**LONG))
            say("reads")
            await asyncio.to_thread(wait)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            say("left")

    asyncio.run(ask())


def time_out():
    """Wait half a second and not longer for a whole answer."""
    with openai.OpenAI(**OPTIONS, timeout=0.5) as client:
        try:
            client.completions.create(**LONG)
        except openai.APITimeoutError as error:
            say(type(error).__name__)


def keys():
    """Ask with the right key, and with another."""
    for key in ("right", "wrong"):
        with openai.OpenAI(**{**OPTIONS, "api_key": key}) as client:
            try:
                say(client.models.retrieve(MODEL).id)
            except openai.AuthenticationError as error:
                say(f"{type(error).__name__} {error.status_code} {error.code}")


say("ready")
wait()
{does.__name__: does for does in (full, full_at_once, leave, leave_helper, cancel, time_out, keys)}[TOLD]()
wait()
