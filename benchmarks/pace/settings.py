# SPDX-License-Identifier: Apache-2.0
"""The settings of the pace engine."""

from __future__ import annotations

from dataclasses import dataclass

from llm_ensemble.settings import EngineSettings, Values, number, setting


def milliseconds(least: float) -> Values:
    """Return the values of a time."""
    return number(f"milliseconds, {least:g} to 3600000", lambda value: least <= value <= 3_600_000)


@dataclass(frozen=True)
class PaceSettings(EngineSettings):
    """When the pace engine gives its tokens."""

    pace_ttft_ms: float = setting(50.0, milliseconds(0), "From scheduling a request to its first token.")
    pace_interval_ms: float = setting(10.0, milliseconds(0.01), "From one token of a sequence to the next.")
