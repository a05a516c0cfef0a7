# SPDX-License-Identifier: Apache-2.0
"""What a stream has to do with Triton: its pulses and its end."""

from __future__ import annotations

from typing import Protocol

from llm_ensemble.contract.request import Pulse


class Outlet(Protocol):
    """The engine stage's request at Triton."""

    def pulse(self, pulse: Pulse) -> None:
        """Let Triton ask postprocessing for the stream."""

    def end(self, error: str = "") -> None:
        """End the request: no pulse follows. error: why, if postprocessing could not be told."""
