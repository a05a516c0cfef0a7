# SPDX-License-Identifier: Apache-2.0
"""The routes of the page: its three files, and what it asks for while it is open.

The files are read once and sent as they are. By their headers they load nothing from elsewhere, nobody can
frame them, and no script or style runs that is not in them: the page shows text that a model wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter, Request, Response

from llm_ensemble.manifest import Limits
from llm_ensemble_client.metrics import EngineStatus, read_metrics

HERE = Path(__file__).resolve().parent
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, but asked for again each time: by ETag that is a few bytes
}
KEPT_SECONDS = 0.5  # each open page asks every two seconds; Triton is asked at most this often


class ShownModel(Protocol):
    """What the page says of the model."""

    @property
    def names(self) -> tuple[str, ...]:
        """By which requests may name it; the page takes the first."""

    @property
    def has_chat_template(self) -> bool:
        """Whether one can chat with it, not only have texts completed."""

    @property
    def limits(self) -> Limits:
        """The limits of the engine."""


@dataclass(frozen=True)
class TokenLimits:
    """The most tokens of a prompt, and of prompt and answer together."""

    max_input_len: int
    max_seq_len: int


@dataclass(frozen=True)
class Load:
    """The sequences that run and wait now, and at most, over all instances of the engine."""

    running: int
    waiting: int
    max_running: int
    max_waiting: int

    @classmethod
    def of(cls, engine: EngineStatus) -> Load:
        """Return the load of an engine."""
        return cls(engine.running, engine.waiting, engine.max_batch_size, engine.max_waiting)


@dataclass(frozen=True)
class Status:
    """The model and its load; null if Triton's metrics cannot be read, or the engine is still loading."""

    model: str
    has_chat_template: bool
    limits: TokenLimits
    load: Load | None


class EngineMetrics:
    """What the engine does now, from Triton's metrics, with no more than one scrape at a time."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._lock = asyncio.Lock()
        self._read_at = -KEPT_SECONDS
        self._engine: EngineStatus | None = None

    async def read(self) -> EngineStatus | None:
        """Return the engine's status, at most KEPT_SECONDS old."""
        async with self._lock:  # who waits here gets what the one before has read
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                self._engine = await asyncio.to_thread(self._scrape)
                self._read_at = time.monotonic()
            return self._engine

    def _scrape(self) -> EngineStatus | None:
        metrics = read_metrics(self._url) if self._url else None
        return metrics.engine if metrics else None


def page_routes(model: ShownModel, metrics_url: str | None) -> APIRouter:
    """Return the routes of the page and of /status. metrics_url: Triton's metrics; None if it has none."""
    router = APIRouter()
    for path, (name, media_type) in FILES.items():
        _add_file(router, path, (HERE / name).read_bytes(), media_type)
    metrics = EngineMetrics(metrics_url)
    limits = TokenLimits(model.limits.max_input_len, model.limits.max_seq_len)

    @router.get("/status", summary="The model, its limits, and what runs and waits now")
    async def status(response: Response) -> Status:
        response.headers["Cache-Control"] = "no-store"
        engine = await metrics.read()
        return Status(model.names[0], model.has_chat_template, limits, Load.of(engine) if engine else None)

    return router


def _add_file(router: APIRouter, path: str, content: bytes, media_type: str) -> None:
    headers = {**HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    @router.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
    async def file(request: Request) -> Response:
        # A proxy that compresses marks the tag as weak: W/"..."
        known = request.headers.get("If-None-Match", "").replace("W/", "").split(", ")
        if headers["ETag"] in known:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)
