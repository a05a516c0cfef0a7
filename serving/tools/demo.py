# SPDX-License-Identifier: Apache-2.0
"""Serve an engine directory, send it three requests by different protocols, stop it.

    python -m serving.tools.demo --engine-dir engines/demo

The server's log goes to demo.log beside the engine directory, so that the output stays readable.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import triton_to_np_dtype

from serving.errors import PreflightError, TritonError
from serving.plain_paths import printable
from serving.preflight.checks import preflight
from serving.tritonserver import Server, free_ports, running

Response = dict[str, Any]  # the ensemble's outputs by name

MAX_TOKENS = 48
TIMEOUT_SECONDS = 60  # for the next response


def main() -> int:
    """Run the demo; return the exit status, 1 with one line on standard error when it fails."""
    parser = argparse.ArgumentParser(description="Serve an engine directory, send it three prompts, stop.")
    parser.add_argument("--engine-dir", type=Path, required=True)
    engine_dir = parser.parse_args().engine_dir
    try:
        _demo(engine_dir)
    except (PreflightError, TritonError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("demo: stopped\n")
        return 130
    return 0


def _demo(engine_dir: Path) -> None:
    ports = free_ports()
    manifest = preflight(engine_dir, ports)
    log = engine_dir.resolve().parent / "demo.log"
    model = f"{manifest.model.name} ({manifest.precision})"
    _say(f"\nstarting tritonserver with {model}, log in {printable(log)}\n")
    with log.open("wb") as file, running(engine_dir, ports, file) as server:
        started = time.monotonic()
        server.wait_ready()
        _say(f"ready after {time.monotonic() - started:.1f} s\n")
        _show("HTTP /generate", "To change the settings,", _http(server, "generate"))
        _show("HTTP /generate_stream, sampled", "The package manager", _http(server, "generate_stream"))
        _show("gRPC, streamed, up to the first full stop", "If the user does not", _grpc(server))
        _say("\nstopping ... ")
    _say("stopped\n")


def _show(title: str, prompt: str, send: Callable[[str], Iterable[Response]]) -> None:
    """Write the text as it arrives, then its finish reason and usage."""
    _say(f"\n{title}\n  {prompt}|")
    tokens = 0
    for response in send(prompt):
        _say(response["text_output"].replace("\n", "\n  "))
        tokens += response["num_output_tokens"]
    _say(f"\n[{response['finish_reason']} after {tokens} tokens, prompt {response['num_input_tokens']}]\n")


def _http(server: Server, path: str) -> Callable[[str], Iterator[Response]]:
    def send(prompt: str) -> Iterator[Response]:
        fields: Response = {"text_input": prompt, "max_tokens": MAX_TOKENS}
        if path == "generate_stream":
            fields |= {"stream": True, "temperature": 0.7, "top_p": 0.9, "seed": 7}
        url = f"{server.ports.http_url}/v2/models/ensemble/{path}"
        request = urllib.request.Request(url, json.dumps(fields).encode())
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            for line in filter(None, map(bytes.strip, answer)):
                yield json.loads(line.removeprefix(b"data: "))

    return send


def _grpc(server: Server) -> Callable[[str], Iterator[Response]]:
    def send(prompt: str) -> Iterator[Response]:
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        fields = {"text_input": prompt, "max_tokens": MAX_TOKENS, "stream": True, "stop_words": "."}
        with contextlib.closing(grpcclient.InferenceServerClient(server.ports.grpc_netloc)) as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer("ensemble", [_tensor(*field) for field in fields.items()])
            finish = ""
            while not finish:
                result, error = answers.get(timeout=TIMEOUT_SECONDS)
                if error:
                    raise TritonError(error.message())
                yield (response := _values(result))
                finish = response["finish_reason"]
            client.stop_stream()

    return send


def _tensor(name: str, value: Any) -> grpcclient.InferInput:
    """Return a field as an input of shape [1, 1]."""
    datatype = {str: "BYTES", bool: "BOOL", int: "INT32"}[type(value)]
    raw = value.encode() if isinstance(value, str) else value
    tensor = grpcclient.InferInput(name, [1, 1], datatype)
    tensor.set_data_from_numpy(np.array([[raw]], dtype=triton_to_np_dtype(datatype)))
    return tensor


def _values(result: Any) -> Response:
    """Return a response's outputs, each of one value, as Python values."""
    names = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens")
    values = {name: result.as_numpy(name).item() for name in names}
    return {
        name: value.decode() if isinstance(value, bytes) else int(value) for name, value in values.items()
    }


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
