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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient

from build_scripts.preflight import PreflightError, preflight
from build_scripts.tritonserver import Server, TritonError, free_ports, running

MAX_TOKENS = 48


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
        _http(server, "The package manager")
        _http_stream(server, "When the server starts,")
        _grpc_stream(server, "In this chapter,")
        _say("\nstopping ... ")
    _say("stopped\n")


def _http(server: Server, prompt: str) -> None:
    _say(f"\nPOST {server.ports.http_url}/v2/models/ensemble/generate\n{prompt}|")
    with _post(server, "generate", {"text_input": prompt, "max_tokens": MAX_TOKENS}) as answer:
        _end(json.load(answer))


def _http_stream(server: Server, prompt: str) -> None:
    _say(f"\nPOST {server.ports.http_url}/v2/models/ensemble/generate_stream\n{prompt}|")
    body = {"text_input": prompt, "max_tokens": MAX_TOKENS, "stream": True}
    with _post(server, "generate_stream", {**body, "temperature": 0.7, "top_p": 0.9, "seed": 7}) as answer:
        for line in answer:
            if line.startswith(b"data: "):
                _end(json.loads(line.removeprefix(b"data: ")))


def _grpc_stream(server: Server, prompt: str) -> None:
    _say(
        f"\ngRPC ModelStreamInfer {server.ports.host}:{server.ports.grpc}, until the first full stop\n{prompt}|"
    )
    for response in _grpc_responses(
        server, text_input=prompt, max_tokens=MAX_TOKENS, stream=True, stop_words="."
    ):
        _end(response)


def _grpc_responses(server: Server, **fields: Any) -> Iterator[dict[str, Any]]:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with contextlib.closing(
        grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}")
    ) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("ensemble", [_tensor(name, value) for name, value in fields.items()])
        finish = ""
        while not finish:
            result, error = answers.get(timeout=60)
            if error:
                raise TritonError(error.message())
            response = {name: result.as_numpy(name)[0, 0] for name in ("text_output", "finish_reason")}
            finish = response["finish_reason"].decode()
            counts = {
                name: int(result.as_numpy(name)[0, 0]) for name in ("num_input_tokens", "num_output_tokens")
            }
            yield {"text_output": response["text_output"].decode(), "finish_reason": finish, **counts}
        client.stop_stream()


def _tensor(name: str, value: Any) -> grpcclient.InferInput:
    array = np.array([[value.encode() if isinstance(value, str) else value]])
    datatype = {"b": "BOOL", "i": "INT32", "S": "BYTES"}[array.dtype.kind]
    array = array.astype({"BOOL": np.bool_, "INT32": np.int32, "BYTES": np.object_}[datatype])
    tensor = grpcclient.InferInput(name, [1, 1], datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def _post(server: Server, path: str, body: dict[str, Any]) -> Any:
    url = f"{server.ports.http_url}/v2/models/ensemble/{path}"
    return urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=60)


def _end(response: dict[str, Any]) -> None:
    """Show a response's text, and with the last its reason and usage."""
    _say(response["text_output"])
    if reason := response["finish_reason"]:
        _say(f"\n[{reason}; prompt {response['num_input_tokens']} tokens]\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
