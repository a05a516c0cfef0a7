# SPDX-License-Identifier: Apache-2.0
"""More clients than anybody has: dropped, at once, slow, and one after another for long.

The pace engine repeats a prompt, so the text of each answer is known in full.
"""

import asyncio
import collections
import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import statistics
import struct
import time
from pathlib import Path

from benchmarks.pace.make_engine import END_ID, PAD_ID
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from tests.openai_soak.sending import NonClosing, is_error_body, request
from tests.scraping import scrape
from tests.waiting import wait_for

SECONDS = 300  # for one answer
FREE_SECONDS = 60  # for everything to end on a busy machine
WARM_UP = 0.3  # of the requests, after which memory must not grow
MAX_GROWTH = 0.05
SLOW_WORDS = "information about international communication and application development "
SMALL_BUFFER = 16384
LEFT_BEHIND = ("llm_openai_requests_in_flight", "llm_openai_connections")


class Plain:
    """A server without taps, which would cost what is measured here."""

    def __init__(self, server, engine_dir):
        self.server, self.tokenizer = server, load_tokenizer(engine_dir)

    def is_empty(self):
        """Return whether the engine has nothing to do, as of a second ago."""
        seen = scrape(self.server)
        return not any(seen.value(f"llm_requests_{name}") for name in ("running", "waiting"))


class Crowd:
    """The clients of one frontend, and what was wrong with what they saw."""

    def __init__(self, frontend):
        self._frontend, self._draw = frontend, random.Random(0)
        self.wrong = []
        self._tokenizer = frontend.tapped.tokenizer

    def text_of(self, prompt, tokens):
        """Return what the pace engine makes of a prompt."""
        ids = [one for one in self._tokenizer.encode(prompt).ids if one not in (END_ID, PAD_ID)]
        return self._tokenizer.decode([ids[k % len(ids)] for k in range(tokens)])

    def body(self, prompt, tokens, stream, prompts=1):
        """Return the request of so many tokens of each of so many prompts, all alike."""
        sent = {"model": "pace", "prompt": [prompt] * prompts, "max_tokens": tokens, "ignore_eos": True}
        return request("/v1/completions", json.dumps({**sent, "stream": stream}).encode())

    async def dropped(self, clients, tokens=2000):
        """Leave in the middle of an answer, by an end or by a reset, streamed or not."""

        async def one(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._frontend.port)
            writer.write(self.body(f"Number {number} of", tokens, stream=number % 3 > 0))
            if number % 3:
                await asyncio.wait_for(reader.readuntil(b"data: "), SECONDS)
            await asyncio.sleep(self._draw.random())
            if number % 2:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()

        await self._gather("dropped", map(one, range(clients)))
        seconds = self._wait_empty()
        return f"{clients} dropped: nothing open {seconds:.1f} s after the last one had left"

    async def at_once(self, clients, tokens=50):
        """Ask all at the same time; each gets its whole text, or a refusal with its body."""
        seen = collections.Counter()

        async def one(number):
            prompt, stream = f"Number {number} of", number % 2 > 0
            status, body = await self._answer(self.body(prompt, tokens, stream))
            seen[status] += 1
            if status == 200:
                self._check_text(text_in(body, stream), self.text_of(prompt, tokens), prompt)
            elif status not in (429, 503) or not is_error_body(body):
                self.wrong.append(f"at once: {status} with the body {body[:200]}")

        started = time.monotonic()
        await self._gather("at once", map(one, range(clients)))
        return f"{clients} at once: {dict(seen)} in {time.monotonic() - started:.0f} s"

    async def slow(self, clients, tokens=6000):
        """Read slowly or not at all, beside others that read at once."""
        calm = await self._usual(20, 1000)
        ends = collections.Counter()
        slow = [asyncio.create_task(self._slow(number, tokens, ends)) for number in range(clients)]
        await asyncio.sleep(2)
        busy = await self._usual(20, 1000)
        await self._gather("slow", slow)
        self._wait_empty()
        times = f"20 others took {calm:.1f} s without them, {busy:.1f} s beside"
        return f"{clients} slow readers: {dict(ends)}; {times}"

    async def _usual(self, clients, tokens):
        """Return the median of the seconds that streams take."""

        async def one(number):
            prompt, started = f"Number {number} of", time.monotonic()
            status, body = await self._answer(self.body(prompt, tokens, stream=True))
            if status != 200:
                self.wrong.append(f"beside slow readers: {status} {body[:200]}")
            else:
                self._check_text(text_in(body, True), self.text_of(prompt, tokens), prompt)
            return time.monotonic() - started

        return statistics.median(await asyncio.gather(*map(one, range(clients))))

    async def _slow(self, number, tokens, ends, rate=16384):
        """Take `rate` bytes a second, or, every second client, nothing for as long as the server bears it."""
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        one.setblocking(False)
        loop, got = asyncio.get_running_loop(), bytearray()
        await loop.sock_connect(one, ("127.0.0.1", self._frontend.port))
        await loop.sock_sendall(one, self.body(SLOW_WORDS, tokens, True, prompts=2))
        begun = time.monotonic()
        if number % 2:
            while self._is_asked_by(one) and time.monotonic() - begun < SECONDS:
                await asyncio.sleep(0.5)
        end = "dropped"
        with contextlib.suppress(ConnectionError):
            while piece := await loop.sock_recv(one, 65536 if number % 2 else rate // 4):
                got += piece
                await asyncio.sleep(0 if number % 2 else 0.25)
            end = "whole" if b"data: [DONE]" in got else "cut"
        one.close()
        kind = "takes nothing" if number % 2 else "takes a little"
        ends[f"{kind}: {end}"] += 1
        if end == "whole":
            texts = [text_in(bytes(got), True, index) for index in (0, 1)]
            for text in texts:
                self._check_text(text, self.text_of(SLOW_WORDS, tokens), "slow")
        elif number % 2 == 0:
            self.wrong.append(
                f"a reader that takes a little was {end} after {time.monotonic() - begun:.0f} s"
            )

    def _is_asked_by(self, one):
        """Return whether the server still has this connection open, without reading from it."""
        try:
            state = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return False
        return state == 1  # established

    async def in_turns(self, requests, at_once=32):
        """Send short requests, one after another; memory of the frontend stays."""
        numbers, memory = iter(range(requests)), {}

        async def work():
            for number in numbers:
                prompt, stream = f"Number {number % 500} of", self._draw.random() < 0.5
                status, body = await self._answer(self.body(prompt, self._draw.randint(1, 10), stream))
                if status != 200:
                    self.wrong.append(f"in turns: {status} {body[:200]}")
                if number in (int(WARM_UP * requests), requests - 1):
                    memory[number] = self.resident

        await self._gather("in turns", [work() for _ in range(at_once)])
        warm, last = (memory[number] for number in sorted(memory))
        if last > warm * (1 + MAX_GROWTH):
            self.wrong.append(f"the frontend's memory grew from {warm:.1f} to {last:.1f} MB")
        return (
            f"{requests} in turns: the frontend has {warm:.1f} MB after {min(memory)}, {last:.1f} at the end"
        )

    @property
    def resident(self):
        """Megabytes of the frontend's process."""
        pages = Path(f"/proc/{self._frontend.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def files(self):
        """What the frontend's process has open."""
        return len([*Path(f"/proc/{self._frontend.process.pid}/fd").iterdir()])

    def left_open(self):
        """Return the frontend's own count of requests and connections; one is that which asks."""
        lines = self._frontend.send("/metrics").body.decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if line.startswith(LEFT_BEHIND))
        return [float(values[name]) for name in LEFT_BEHIND]

    def _wait_empty(self):
        """Return the seconds until nothing is open in the frontend and in the engine."""
        started = time.monotonic()
        wait_for(lambda: self._frontend.tapped.is_empty() and self.left_open() == [1, 1], FREE_SECONDS)
        return time.monotonic() - started

    async def _answer(self, asked):
        """Return status and body of the one answer on a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._frontend.port)
        try:
            writer.write(asked)
            got = await asyncio.wait_for(reader.read(), SECONDS)
        except asyncio.TimeoutError:
            return "hang", b""
        except ConnectionError:
            return "lost", b""
        finally:
            writer.close()
        answer = http.client.HTTPResponse(NonClosing(got))
        answer.begin()
        return answer.status, answer.read()

    async def _gather(self, name, work):
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if outcome is not None:
                self.wrong.append(f"{name}: {outcome!r}")

    def _check_text(self, got, expected, prompt):
        if got != expected:
            self.wrong.append(f"{prompt}: {len(got)} characters, not {len(expected)}: {got[-60:]!r}")


def text_in(body, stream, index=0):
    """Return the text of a choice of an answer, whose events may be chunks of HTTP still."""
    if not stream:
        return json.loads(body)["choices"][index]["text"]
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    choices = itertools.chain.from_iterable(json.loads(line)["choices"] for line in lines)
    return "".join(choice["text"] for choice in choices if choice["index"] == index)
