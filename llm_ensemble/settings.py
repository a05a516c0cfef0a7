# SPDX-License-Identifier: Apache-2.0
"""What an operator may set, all of it through the environment; everything else comes from the manifest."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_ensemble.errors import SettingError


@dataclass(frozen=True)
class Settings:
    """ENGINE_DIR: the engine directory (default /engine, where the image mounts it).

    MAX_WAITING: sequences that may wait for a place in the running batch before the next is refused.
    DEADLINE_MS: milliseconds after which a request ends that sets no deadline_ms. Triton does not notice
    that the client of a plain HTTP request has left, so this is what bounds such a request.
    HANG_SECONDS: how long a step may do nothing, though asked to, before it counts as hanging. A slow machine
    may read a long prompt for tens of seconds, in which nobody gets a token.
    ON_DEAD: what serve does when a step has died or hangs: exit, or restart tritonserver.
    LOG_FORMAT: of the log's line about each request, text or json. LOG_TEXT: whether it has prompt and text.
    """

    engine_dir: Path = Path("/engine")
    max_waiting: int = 256
    deadline_ms: int = 600_000
    hang_seconds: int = 60
    on_dead: str = "exit"
    log_format: str = "text"
    log_text: bool = False


ON_DEAD = ("exit", "restart")
LOG_FORMATS = ("text", "json")


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; a malformed value raises SettingError naming the variable."""
    return Settings(
        engine_dir=Path(environ.get("ENGINE_DIR", Settings.engine_dir)),
        max_waiting=_whole_number(environ, "MAX_WAITING", "sequences", least=0),
        deadline_ms=_whole_number(environ, "DEADLINE_MS", "milliseconds", least=1),
        hang_seconds=_whole_number(environ, "HANG_SECONDS", "seconds", least=5),
        on_dead=_one_of(environ, "ON_DEAD", ON_DEAD, Settings.on_dead),
        log_format=_one_of(environ, "LOG_FORMAT", LOG_FORMATS, Settings.log_format),
        log_text=bool(int(_one_of(environ, "LOG_TEXT", ("0", "1"), "0"))),
    )


@dataclass(frozen=True)
class GpuSettings:
    """What an operator may set for the tensorrt_llm engine alone.

    GPU_GROUPS: the GPUs of each instance of the engine, as "0,1;2,3"; every group has as many as the
    engine's tensor parallelism. Empty (the default): one instance on the first GPUs that are visible.
    KV_CACHE_FRACTION: of the GPU memory that the weights leave free, for the KV cache.
    PREFIX_CACHE: whether prompts that begin alike share their beginning's keys and values.
    CHUNKED_PREFILL: whether a long prompt is read in pieces, between which others get their tokens.
    SCHEDULER_POLICY: GUARANTEED_NO_EVICT starts a request when it can end without waiting for memory,
    MAX_UTILIZATION starts as many as fit now and may have to stop some and begin them again.
    CUDA_GRAPHS, ATTENTION_BACKEND: of the PyTorch backend alone.
    """

    gpu_groups: tuple[tuple[int, ...], ...] = ()
    kv_cache_fraction: float = 0.9
    prefix_cache: bool = True
    chunked_prefill: bool = True
    scheduler_policy: str = "GUARANTEED_NO_EVICT"
    cuda_graphs: bool = True
    attention_backend: str = "TRTLLM"

    @property
    def instances(self) -> int:
        """Of the engine step."""
        return max(1, len(self.gpu_groups))


SCHEDULER_POLICIES = ("GUARANTEED_NO_EVICT", "MAX_UTILIZATION")
# The three that its documentation knows (nvidia.github.io/TensorRT-LLM/torch/attention.html).
ATTENTION_BACKENDS = ("TRTLLM", "FLASHINFER", "VANILLA")


def read_gpu_settings(environ: Mapping[str, str] = os.environ) -> GpuSettings:
    """Read the tensorrt_llm engine's settings; a malformed value raises SettingError naming the variable."""
    return GpuSettings(
        gpu_groups=_gpu_groups(environ.get("GPU_GROUPS", "")),
        kv_cache_fraction=_fraction(environ, "KV_CACHE_FRACTION"),
        prefix_cache=_switch(environ, "PREFIX_CACHE"),
        chunked_prefill=_switch(environ, "CHUNKED_PREFILL"),
        scheduler_policy=_one_of(environ, "SCHEDULER_POLICY", SCHEDULER_POLICIES),
        cuda_graphs=_switch(environ, "CUDA_GRAPHS"),
        attention_backend=_one_of(environ, "ATTENTION_BACKEND", ATTENTION_BACKENDS),
    )


def refuse_gpu_settings(environ: Mapping[str, str] = os.environ) -> None:
    """For engines without a GPU: a setting that would do nothing raises SettingError naming it."""
    for field in dataclasses.fields(GpuSettings):
        if environ.get(field.name.upper()):
            raise SettingError(f"{field.name.upper()} is for the tensorrt_llm engine alone: unset it")


@dataclass(frozen=True)
class PaceSettings:
    """What an operator may set for the pace engine alone, in milliseconds.

    PACE_TTFT_MS: from a request being let in to its first token. PACE_INTERVAL_MS: from a token to the next.
    """

    pace_ttft_ms: float = 50.0
    pace_interval_ms: float = 10.0


def read_pace_settings(environ: Mapping[str, str] = os.environ) -> PaceSettings:
    """Read the pace engine's settings; a malformed value raises SettingError naming the variable."""
    return PaceSettings(
        pace_ttft_ms=_milliseconds(environ, "PACE_TTFT_MS", least=0.0),
        pace_interval_ms=_milliseconds(environ, "PACE_INTERVAL_MS", least=0.01),
    )


def refuse_pace_settings(environ: Mapping[str, str] = os.environ) -> None:
    """For engines that compute: a pace raises SettingError naming it."""
    for field in dataclasses.fields(PaceSettings):
        if environ.get(field.name.upper()):
            raise SettingError(f"{field.name.upper()} is for the pace engine alone: unset it")


def _milliseconds(environ: Mapping[str, str], name: str, least: float) -> float:
    text = environ.get(name, str(getattr(PaceSettings, name.lower())))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= 3_600_000:
        raise SettingError(f"{name} must be milliseconds, {least:g} to 3600000, not {text!r}")
    return value


def _gpu_groups(text: str) -> tuple[tuple[int, ...], ...]:
    groups = [group.split(",") for group in text.split(";")] if text.strip() else []
    if not all(gpu.strip().isdecimal() for group in groups for gpu in group):
        raise SettingError(f'GPU_GROUPS must be GPU numbers, "0,1;2,3" for two instances, not {text!r}')
    numbers = tuple(tuple(int(gpu) for gpu in group) for group in groups)
    if len(set(sum(numbers, ()))) < len(sum(numbers, ())):
        raise SettingError(f"GPU_GROUPS must name each GPU once, not {text!r}")
    if len({len(group) for group in numbers}) > 1:
        raise SettingError(f"GPU_GROUPS must have groups of one size, not {text!r}")
    return numbers


def _default(name: str) -> Any:
    return getattr(GpuSettings, name.lower())


def _fraction(environ: Mapping[str, str], name: str) -> float:
    text = environ.get(name, str(_default(name)))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise SettingError(f"{name} must be a number between 0 and 1, not {text!r}")
    return value


def _switch(environ: Mapping[str, str], name: str) -> bool:
    return bool(int(_one_of(environ, name, ("0", "1"), str(int(_default(name))))))


def _one_of(
    environ: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str | None = None
) -> str:
    text = environ.get(name, default or _default(name))
    if text not in allowed:
        raise SettingError(f"{name} must be {' or '.join(allowed)}, not {text!r}")
    return str(text)


def _whole_number(environ: Mapping[str, str], name: str, unit: str, least: int) -> int:
    text = environ.get(name, str(getattr(Settings, name.lower())))
    if not text.isdecimal() or int(text) < least:
        raise SettingError(f"{name} must be a whole number of {unit}, at least {least}, not {text!r}")
    return int(text)
