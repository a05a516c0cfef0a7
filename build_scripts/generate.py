# SPDX-License-Identifier: Apache-2.0
"""One prompt against a running server: raw text in, raw text out, as it comes.

python -m build_scripts.generate "To change the settings," --url http://localhost:8000
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

SECONDS = 60  # between two events of the answer; a waiting request gets one at once


class GenerateError(Exception):
    """There is no answer; one line that says why."""


def generate(url: str, fields: dict[str, Any]) -> Iterator[str]:
    """The answer's text, piece by piece. Raises GenerateError."""
    path = f"{url.rstrip('/')}/v2/models/ensemble/generate_stream"
    try:
        request = urllib.request.Request(path, json.dumps({**fields, "stream": True}).encode())
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield _text(json.loads(line.removeprefix(b"data: ")))
    except urllib.error.HTTPError as error:
        raise GenerateError(_reason(error)) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise GenerateError(f"{url} does not answer as a server of ours: {error}") from error


def _text(event: dict[str, Any]) -> str:
    if "error" in event:
        raise GenerateError(str(event["error"]))
    return str(event["text_output"])


def _reason(error: urllib.error.HTTPError) -> str:
    """What the server says; behind a proxy it may be no JSON."""
    body = error.read().decode(errors="replace")
    try:
        return str(json.loads(body.removeprefix("data: "))["error"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {error.code} {error.reason}"


def main(arguments: list[str] | None = None) -> int:
    """Ask and write the text; 1 with one line when that fails."""
    here = f"http://127.0.0.1:{os.environ.get('HTTP_PORT', '8000')}"
    parser = argparse.ArgumentParser(prog="generate", description="One prompt against a running server.")
    parser.add_argument("prompt", help="the text to go on from; - reads it from standard input")
    parser.add_argument("--url", default=here, help=f"the server's HTTP address (default: {here})")
    parser.add_argument("--max-tokens", type=int, help="of the answer (default: the engine's)")
    asked = parser.parse_args(arguments)
    fields = {"text_input": sys.stdin.read() if asked.prompt == "-" else asked.prompt}
    if asked.max_tokens is not None:
        fields["max_tokens"] = asked.max_tokens
    try:
        for text in generate(asked.url, fields):
            sys.stdout.write(text)
            sys.stdout.flush()
    except GenerateError as error:
        sys.stderr.write(f"generate: {error}\n")
        return 1
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
