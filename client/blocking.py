# SPDX-License-Identifier: Apache-2.0
"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from client.address import parse_url
from client.asking import AskedStream, ask
from client.request import Message, Sampling, build_fields
from client.response import Completion
from client.retry import Retry, retry_policy
from client.status import Status, ask_status
from client.transport import Transport, run

if TYPE_CHECKING:
    from typing_extensions import Unpack

TIMEOUT = 300.0  # seconds


class Client:
    """A server, asked from threads; any number of them may share it.

    url: http://HOST:8000 or grpc://HOST:8001, with TLS https:// or grpcs://
    timeout: seconds for a whole call, retries and the last piece of a stream included; 300 by default
    retries: whether to ask again when the server is full or out of reach and no text has come (Retry says
        how often and after how long)
    headers: sent with every request, as HTTP headers or gRPC metadata (names in lower case)

    A bad url raises InvalidRequest. Nothing is sent before the first call.

        with Client("http://localhost:8000") as client:
            print(client.generate("To change the settings,", max_tokens=32).text)
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT,
        retries: bool | Retry = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = _transport(url, headers or {})
        self._timeout, self._policy = timeout, retry_policy(retries)

    def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """The whole answer to a prompt, or to a conversation of {"role", "content"}. Raises ClientError.

        A plain HTTP request runs on when its client leaves; deadline_ms bounds it. gRPC and streams do not.

            client.generate("Once upon a time", temperature=0.7, seed=7, stop_words=["."]).text
            client.generate(messages=[{"role": "user", "content": "Why?"}]).num_output_tokens
        """
        fields = build_fields(prompt, messages, sampling)
        return run(ask(self._transport, fields, self._timeout, self._policy))

    def stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Stream:
        """The same answer, piece by piece as it is made. A bad argument raises InvalidRequest at once.

        with client.stream("Once upon a time") as stream:
            for piece in stream:
                print(piece, end="", flush=True)
        print(stream.completion.finish_reason)
        """
        fields = build_fields(prompt, messages, sampling)
        return Stream(AskedStream(self._transport, fields, self._timeout, self._policy))

    def status(self) -> Status:
        """What the server says of itself. Never retried. Raises ClientError.

        client.status().ready
        """
        return run(ask_status(self._transport, self._timeout))

    def close(self) -> None:
        """Let go of the connections. Close streams first.

        client.close()
        """
        run(self._transport.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stream:
    """Text as it comes. The request is sent when the first piece is asked for, and the timeout begins then.

    Iterating raises ClientError. Leaving the loop, leaving the block, or close() ends the request on the
    server. Of several sequences the pieces are the first one's; `completion` has all.
    """

    def __init__(self, asked: AskedStream) -> None:
        self._asked = asked

    @property
    def completion(self) -> Completion | None:
        """Everything that generate() would have given; None until the stream has ended by itself."""
        return self._asked.completion

    @property
    def finish_reason(self) -> str:
        """stop, length, timeout or cancelled; empty until the stream has ended by itself."""
        return self.completion.finish_reason if self.completion else ""

    def __next__(self) -> str:
        piece = run(self._asked.next_piece())
        if piece is None:
            raise StopIteration
        return piece

    def __iter__(self) -> Iterator[str]:
        """A generator of its own, which Python closes when a loop over it is left."""
        try:
            while (piece := run(self._asked.next_piece())) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """End the request on the server if it has not ended; may be called again, and from another thread.

        stream.close()
        """
        self._asked.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _transport(url: str, headers: Mapping[str, str]) -> Transport:
    """Imported when wanted: who speaks HTTP need not load grpc, which takes a third of a second."""
    address = parse_url(url)
    if address.scheme.startswith("http"):
        from client.http_blocking import BlockingHttp

        return BlockingHttp(address, headers)
    from client.grpc_blocking import BlockingGrpc

    return BlockingGrpc(address, headers)
