# SPDX-License-Identifier: Apache-2.0
"""Requests as bytes, and whether what comes back is what the API promises."""

import asyncio
import collections
import contextlib
import http.client
import io
import json
from dataclasses import dataclass

SECONDS = 60  # for everything that comes of one connection
STATUSES = {200, 400, 401, 404, 405, 408, 413, 415, 429, 431, 503, 504}
ENDLESS = 2**26  # bytes of answers; there are no such long ones
ERROR_KEYS = {"message", "type", "param", "code"}
END = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Sent:
    """What is sent on one connection. pieces: with a pause after each. answers: that come, if it is known.

    stays: whether the client keeps its side open until the server closes.
    """

    kind: str
    pieces: tuple
    answers: int | None = 1
    stays: bool = True


class NonClosing(io.BytesIO):
    """Bytes of several responses, which http.client would close after the first."""

    def close(self):
        pass

    def makefile(self, mode):
        return self


def request(path, body=b"", kind="application/json", method="POST", close=True, headers=()):
    """Return a request with a content-length, as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    lines += [f"Content-Type: {kind}"] if kind is not None else []
    lines += ["Connection: close"] if close else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


def chunked(path, sizes, body):
    """Return the pieces of a request whose body has no length: chunks of these sizes, over and over."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    pieces, start, number = [head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"], 0, 0
    while start < len(body):
        chunk = body[start : start + sizes[number % len(sizes)]]
        pieces.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        start, number = start + len(chunk), number + 1
    return (*pieces, b"0\r\n\r\n")


async def exchange(port, sent):
    """Send; return all that comes until the server closes. Raise TimeoutError if it does not."""

    async def once():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with contextlib.suppress(ConnectionError):  # refused before all of it was sent
                for piece in sent.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001 if len(sent.pieces) > 1 else 0)
            if not sent.stays:
                return b""
            got = bytearray()
            with contextlib.suppress(ConnectionError):
                while (piece := await reader.read(65536)) and len(got) < ENDLESS:
                    got += piece
            return bytes(got)
        finally:
            writer.close()

    return await asyncio.wait_for(once(), SECONDS)


def problems(sent, got):
    """Return what is wrong with what came, as sentences, and the statuses."""
    if not sent.stays:
        return [], []
    if len(got) >= ENDLESS:
        return [f"an answer that does not end: {got[:200]} ... {got[-200:]}"], []
    stream, found, statuses = NonClosing(got), [], []
    while stream.tell() < len(got):
        has_no_body = sent.pieces[0].startswith(b"HEAD ")
        answer = http.client.HTTPResponse(stream, method="HEAD" if has_no_body else None)
        try:
            answer.begin()
            body = answer.read()
        except (http.client.HTTPException, OSError) as error:
            return [*found, f"not HTTP: {error!r}"], statuses
        statuses.append(answer.status)
        found += _problems_of(answer, body, has_no_body)
    if sent.answers is not None and len(statuses) != sent.answers:
        found.append(f"{len(statuses)} answers, not {sent.answers}")
    return found, statuses


def _problems_of(answer, body, has_no_body):
    kind = answer.getheader("content-type", "")
    if answer.status not in STATUSES:
        return [f"status {answer.status}: {body[:200]}"]
    if has_no_body:
        return []
    if answer.status >= 400:
        return [] if is_error_body(body) else [f"{answer.status} with the body {body[:200]}"]
    if kind.startswith("text/event-stream"):
        last = [event for event in body.split(b"\n\n") if event.startswith(b"data: ")][-1:]
        is_whole = body.endswith(END) or (last and is_error_body(last[0][6:]))
        return [] if is_whole else [f"a stream without its end: {body[-200:]}"]
    if kind == "application/json":
        with contextlib.suppress(ValueError):
            json.loads(body)
            return []
        return [f"200 that is not JSON: {body[:200]}"]
    return []


def is_error_body(body):
    """Return whether a body is OpenAI's of an error."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return False
    texts = [error.get("message"), error.get("type")]
    return error.keys() == ERROR_KEYS and all(isinstance(one, str) and one for one in texts)


async def send_all(port, sents, at_once=16):
    """Send everything, so many at a time; return what went wrong, and a count of statuses by kind."""
    wrong, seen, left = [], collections.Counter(), iter(sents)

    async def work():
        for sent in left:
            try:
                found, statuses = problems(sent, await exchange(port, sent))
            except asyncio.TimeoutError:
                found, statuses = [f"no end within {SECONDS} s"], ["hang"]
            except OSError as error:
                found, statuses = [f"{error!r}"], ["lost"]
            seen.update((sent.kind, status) for status in statuses)
            wrong.extend((problem, sent) for problem in found)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return wrong, seen
