# SPDX-License-Identifier: Apache-2.0
"""Serve an engine directory for a minute and ask it, as three kinds of client would; then stop it.

    python -m build_scripts.demo --engine-dir engines/demo

Everything shown is computed while it is shown. The server's log goes to demo.log in the engine directory's
parent, so that the text stays readable.
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

from build_scripts.installation import TritonError
from build_scripts.preflight import PreflightError, preflight
from build_scripts.tritonserver import Server, free_ports, running

Response = dict[str, Any]  # the ensemble's outputs by name

MAX_TOKENS = 48
SECONDS = 60  # a client of ours waits no longer for the next response


def main() -> int:
    """Serve, ask over HTTP, over HTTP streamed, over gRPC, stop. 1 with one line when that fails."""
    parser = argparse.ArgumentParser(description="Serve an engine directory, ask it a few prompts, stop.")
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
    _say(f"\nstarting tritonserver with {manifest.model.name} ({manifest.precision}), log in {log}\n")
    with log.open("wb") as file, running(engine_dir, ports, file) as server:
        started = time.monotonic()
        server.wait_ready()
        _say(f"ready after {time.monotonic() - started:.1f} s\n")
        _show("HTTP /generate", "To change the settings,", _http(server, "generate"))
        _show("HTTP /generate_stream, sampled", "The package manager", _http(server, "generate_stream"))
        _show("gRPC, streamed, up to the first full stop", "If the user does not", _grpc(server))
        _say("\nstopping ... ")
    _say("stopped\n")


def _show(how: str, prompt: str, ask: Callable[[str], Iterable[Response]]) -> None:
    """Show the text as it comes, and at its end the reason and the usage."""
    _say(f"\n{how}\n  {prompt}|")
    tokens = 0
    for response in ask(prompt):
        _say(response["text_output"].replace("\n", "\n  "))
        tokens += response["num_output_tokens"]
    _say(f"\n[{response['finish_reason']} after {tokens} tokens, prompt {response['num_input_tokens']}]\n")


def _http(server: Server, path: str) -> Callable[[str], Iterator[Response]]:
    def ask(prompt: str) -> Iterator[Response]:
        fields: Response = {"text_input": prompt, "max_tokens": MAX_TOKENS}
        if path == "generate_stream":
            fields |= {"stream": True, "temperature": 0.7, "top_p": 0.9, "seed": 7}
        url = f"{server.ports.http_url}/v2/models/ensemble/{path}"
        request = urllib.request.Request(url, json.dumps(fields).encode())
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            for line in filter(None, map(bytes.strip, answer)):
                yield json.loads(line.removeprefix(b"data: "))

    return ask


def _grpc(server: Server) -> Callable[[str], Iterator[Response]]:
    def ask(prompt: str) -> Iterator[Response]:
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        address = f"{server.ports.host}:{server.ports.grpc}"
        fields = {"text_input": prompt, "max_tokens": MAX_TOKENS, "stream": True, "stop_words": "."}
        with contextlib.closing(grpcclient.InferenceServerClient(address)) as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer("ensemble", [_tensor(*field) for field in fields.items()])
            finish = ""
            while not finish:
                result, error = answers.get(timeout=SECONDS)
                if error:
                    raise TritonError(error.message())
                yield (response := _values(result))
                finish = response["finish_reason"]
            client.stop_stream()

    return ask


def _tensor(name: str, value: Any) -> grpcclient.InferInput:
    """A field as an input of shape [1, 1]."""
    datatype = {str: "BYTES", bool: "BOOL", int: "INT32"}[type(value)]
    raw = value.encode() if isinstance(value, str) else value
    tensor = grpcclient.InferInput(name, [1, 1], datatype)
    tensor.set_data_from_numpy(np.array([[raw]], dtype=triton_to_np_dtype(datatype)))
    return tensor


def _values(result: Any) -> Response:
    """A response's outputs of shape [1, 1] as Python values."""
    names = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens")
    values = {name: result.as_numpy(name)[0, 0] for name in names}
    return {
        name: value.decode() if isinstance(value, bytes) else int(value) for name, value in values.items()
    }


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
