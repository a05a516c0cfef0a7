# SPDX-License-Identifier: Apache-2.0
"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from llm_ensemble_client.address import parse_url
from llm_ensemble_client.calls import StreamingCall, call_unary
from llm_ensemble_client.deadline import DEFAULT_TIMEOUT
from llm_ensemble_client.request import Message, Sampling, build_fields
from llm_ensemble_client.response import Completion
from llm_ensemble_client.retry import Retry, retry_policy
from llm_ensemble_client.status import Status, read_status
from llm_ensemble_client.transport import Transport, run

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Client:
    """A blocking client of one server. Thread-safe: any number of threads may share it.

    url: http://HOST:8000 or grpc://HOST:8001; with TLS https://HOST or grpcs://HOST
    timeout: limit of one call in seconds, from its first attempt to its last response
    retries: whether to retry when the server is overloaded or unreachable and no text has arrived; a Retry
        sets how often and after which pauses
    headers: sent with every request, as HTTP headers or as gRPC metadata (names in lower case)

    Raise InvalidRequest for a malformed url. Nothing is sent before the first call.

        with Client("http://localhost:8000") as client:
            print(client.generate("To change the settings,", max_tokens=32).text)
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
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
        input_ids: Iterable[int] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Return the completion of a prompt or of a conversation, when it is whole.

        prompt: the text to continue
        messages: instead of a prompt, a conversation for the model's chat template: {"role": str, "content":
            str} and further keys that the template reads
        input_ids: instead of both, the prompt's token ids; no special tokens are added
        sampling: the request's other fields, see Sampling

        Raise InvalidRequest, also for an argument of a wrong name or type, before anything is sent;
        Overloaded, ServerError, Unreachable, or TimedOut after `timeout` seconds.

        A unary HTTP request is not aborted when its client disconnects: limit it by deadline_ms. gRPC and
        streaming requests are aborted.

            client.generate("Once upon a time", temperature=0.7, seed=7, stop_words=["."]).text
            client.generate(messages=[{"role": "user", "content": "Why?"}]).num_output_tokens
        """
        fields = build_fields(prompt, messages, sampling, input_ids)
        return run(call_unary(self._transport, fields, self._timeout, self._policy))

    def stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        input_ids: Iterable[int] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Stream:
        """Return a stream of the same text, in pieces as they are generated. Parameters are generate()'s.

        Raise InvalidRequest for an argument of a wrong name or type. Other exceptions are raised when the
        stream is iterated: the request is sent when the first piece is read.

        with client.stream("Once upon a time") as stream:
            for piece in stream:
                print(piece, end="", flush=True)
        print(stream.completion.finish_reason)
        """
        fields = build_fields(prompt, messages, sampling, input_ids)
        return Stream(StreamingCall(self._transport, fields, self._timeout, self._policy))

    def status(self) -> Status:
        """Return the server's readiness, version and models. Not retried.

        Raise ServerError, Unreachable or TimedOut. A server that is loading is no error: `ready` is False.

        client.status().ready
        """
        return run(read_status(self._transport, self._timeout))

    def close(self) -> None:
        """Close the connections. Close streams first.

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
    """An iterator of the text of one request, in pieces (str, never empty), and a context manager.

    The request is sent, and its timeout starts, when the first piece is read. With several sequences the
    pieces are those of the first; `completion` has all texts. The end of the `for` loop or of the `with`
    block, or close(), aborts the request if it has not finished.

    Iteration raises InvalidRequest, Overloaded, ServerError, Unreachable or TimedOut; that ends the stream.
    """

    def __init__(self, call: StreamingCall) -> None:
        self._call = call

    @property
    def completion(self) -> Completion | None:
        """What generate() returns; None until the last response has been read."""
        return self._call.completion

    @property
    def finish_reason(self) -> str:
        """stop, length, timeout or cancelled; empty until the last response has been read."""
        return self.completion.finish_reason if self.completion else ""

    def __next__(self) -> str:
        piece = run(self._call.next_piece())
        if piece is None:
            raise StopIteration
        return piece

    def __iter__(self) -> Iterator[str]:
        """Return a generator, which Python closes when a loop over it ends early."""
        try:
            while (piece := run(self._call.next_piece())) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Abort the request; no-op if it has finished. Thread-safe.

        stream.close()
        """
        self._call.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _transport(url: str, headers: Mapping[str, str]) -> Transport:
    """Return the transport of a URL. It is imported here since importing grpc takes a third of a second."""
    address = parse_url(url)
    if address.scheme.startswith("http"):
        from llm_ensemble_client.transports.http_blocking import BlockingHttp

        return BlockingHttp(address, headers)
    from llm_ensemble_client.transports.grpc_blocking import BlockingGrpc

    return BlockingGrpc(address, headers)
