# SPDX-License-Identifier: Apache-2.0
"""How much of one batch 32 requests at once are: their time over 32 times the time of one alone.

    make serve ENGINE_DIR=engines/demo
    python benchmarks/batching.py --url http://127.0.0.1:8000

Rounds alternate, so that what else the machine does falls on both alike; the median of each is compared.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import statistics
import sys
import time
import urllib.request


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description="Time of N requests at once over N times one alone.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stream", action="store_true")
    asked = parser.parse_args()
    alone, together, tokens = [], [], 0
    for _ in range(asked.rounds + 1):
        seconds, _tokens = timed(asked, 1)
        alone.append(seconds)
        seconds, tokens = timed(asked, asked.requests)
        together.append(seconds)
    one, many = statistics.median(alone[1:]), statistics.median(together[1:])  # the first round warms up
    sys.stdout.write(
        f"one alone {one:.3f} s, {asked.requests} at once {many:.3f} s ({tokens} tokens): "
        f"{many / (asked.requests * one):.3f} of one after the other\n"
    )


def timed(asked: argparse.Namespace, requests: int) -> tuple[float, int]:
    """Return the seconds until the last of `count` requests, sent at once, has ended, and their tokens."""
    with concurrent.futures.ThreadPoolExecutor(requests) as pool:
        started = time.monotonic()
        tokens = sum(pool.map(lambda number: ask(asked, number), range(requests)))
        return time.monotonic() - started, tokens


def ask(asked: argparse.Namespace, number: int) -> int:
    """Send one request; return its tokens. A high temperature keeps most from ending before max_tokens."""
    path = "generate_stream" if asked.stream else "generate"
    fields = {"text_input": f"Number {number} of", "max_tokens": asked.max_tokens, "stream": asked.stream}
    body = json.dumps({**fields, "temperature": 3.0, "seed": number}).encode()
    url = f"{asked.url}/v2/models/ensemble/{path}"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=120) as answer:
        responses = [json.loads(line.removeprefix(b"data: ")) for line in answer if line.strip()]
    return sum(int(response["num_output_tokens"]) for response in responses)


if __name__ == "__main__":
    main()
