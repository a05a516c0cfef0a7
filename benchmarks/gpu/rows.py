# SPDX-License-Identifier: Apache-2.0
"""The rows of the table: what is measured beside what, and for how long at most; the most important first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One run of the benchmark: this project's server and a baseline, in rounds that alternate.

    engine: of engines.py. baseline: "serve" (`vllm serve`), "engine" (the bare AsyncLLM), or "ours", another
    server of this project. loads: {requests at a time: requests of a run}. seconds: after which the row is
    ended; the loads that were measured by then are kept. options, environ: of `vllm serve`. ours, theirs:
    settings of this project's servers.
    """

    name: str
    engine: str
    baseline: str
    loads: dict[int, int]
    mode: str = "both"
    rounds: int = 2
    seconds: int = 240
    options: Sequence[str] = ()
    environ: dict[str, str] = field(default_factory=dict)
    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)
    their_engine: str = ""
    gpus: int = 1


def api_servers(count: int) -> tuple[str, ...]:
    """Return the option for so many API server processes."""
    return ("--api-server-count", str(count))


RUST = {"VLLM_USE_RUST_FRONTEND": "1"}  # experimental in vLLM 0.23 and off by default
OPT, QWEN = "opt-125m", "qwen3-8b"
# One instance must hold 512 requests; more threads of Triton than that cost (docs/performance.md).
FEW = {"MAX_WAITING": "320"}
FIRST, SECOND = {"GPU_GROUPS": "0", **FEW}, {"GPU_GROUPS": "0;1", **FEW}

ROWS = (
    Row("opt-serve-1", OPT, "serve", {256: 1024, 32: 384, 1: 16}, seconds=260, options=api_servers(1)),
    Row("opt-engine", OPT, "engine", {256: 1024, 32: 384}, mode="stream", seconds=150),
    Row("opt-serve-4", OPT, "serve", {256: 1024, 32: 384}, rounds=1, seconds=120, options=api_servers(4)),
    Row("opt-serve-2", OPT, "serve", {256: 1024, 32: 384}, rounds=1, seconds=120, options=api_servers(2)),
    Row("opt-serve-rust", OPT, "serve", {256: 1024, 32: 384}, rounds=1, seconds=120, environ=RUST),
    Row("qwen3-serve-1", QWEN, "serve", {256: 768, 32: 128, 1: 4}, seconds=300, options=api_servers(1)),
    Row("qwen3-serve-4", QWEN, "serve", {256: 768, 32: 128}, rounds=1, seconds=150, options=api_servers(4)),
    Row("qwen3-engine", QWEN, "engine", {256: 768, 32: 128}, mode="stream", rounds=1, seconds=180),
    Row("qwen3-serve-2", QWEN, "serve", {256: 768, 32: 128}, rounds=1, seconds=150, options=api_servers(2)),
    Row(
        *("opt-two-instances", OPT, "ours", {512: 2048}),
        mode="stream", seconds=200, ours=SECOND, theirs=FIRST, gpus=2,
    ),
    Row(
        *("qwen3-tensor-parallel", "qwen3-8b-tp2", "ours", {1: 4, 32: 128}),
        mode="stream", rounds=1, seconds=300, theirs=FIRST, their_engine=QWEN, gpus=2,
    ),
)  # fmt: skip


def chosen(prefixes: Sequence[str], gpus: int) -> list[Row]:
    """Return the rows whose names begin so, all where none is given. Raise ValueError for what cannot be run.

    Without a name, rows for more GPUs than there are, are left out.
    """
    if not prefixes:
        return [row for row in ROWS if row.gpus <= gpus]
    found = [row for row in ROWS if row.name.startswith(tuple(prefixes))]
    unknown = [one for one in prefixes if not any(row.name.startswith(one) for row in ROWS)]
    if unknown:
        raise ValueError(f"no row begins with {unknown[0]!r}; there are {', '.join(r.name for r in ROWS)}")
    for row in found:
        if row.gpus > gpus:
            raise ValueError(f"{row.name} needs {row.gpus} GPU(s), this machine has {gpus}")
    return found
